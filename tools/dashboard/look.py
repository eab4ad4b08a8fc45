"""How the dashboard looks: each kind of panel in one way, each colour with one meaning."""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Final, Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as styles
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

DATASOURCE: Final = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE, GREY = (
    "green",
    "yellow",
    "orange",
    "red",
    "blue",
    "purple",
    "#8e8e8e",
)

Steps = Sequence[tuple[float | None, str]]  #: from which value on, which colour; the first is from -infinity
ValueWords = Mapping[int, tuple[str, str]]  #: what a number means, and its colour

Entries = Sequence[str]  #: headings of docs/runbook.md

#: what a series is called
OF_GATEWAY: Final = "{{instance}}"
OF_CONNECTION: Final = "{{instance}} {{connection}}"
OF_TUNNEL: Final = "{{instance}} {{connection}}/{{tunnel}}"

GOOD_IS_ZERO: Final[Steps] = ((None, GREEN), (1, RED))


Panel = Builder[model.Panel]


class Framable(Protocol):
    """What the SDK's builders of panels have in common."""

    def title(self, title: str) -> Self: ...
    def description(self, description: str) -> Self: ...
    def span(self, w: int) -> Self: ...
    def height(self, h: int) -> Self: ...
    def datasource(self, datasource: model.DataSourceRef) -> Self: ...
    def targets(self, targets: list[Builder[Dataquery]]) -> Self: ...
    def links(self, links: list[Builder[model.DashboardLink]]) -> Self: ...


P = TypeVar("P", bound=Framable)


def framed(
    panel: P,
    title: str,
    text: str,
    size: tuple[int, int],
    *queries: prometheus.Dataquery,
    runbook: Entries = (),
) -> P:
    """Give a panel what all have; its size is of 24 columns, and in rows of 30 px."""
    width, height = size
    panel.title(title).description(text).span(width).height(height).datasource(DATASOURCE)
    panel.targets([q.ref_id(letter) for letter, q in zip(ascii_uppercase, queries, strict=False)])
    return panel.links([_entry(name) for name in runbook])


def _entry(name: str) -> dashboard.DashboardLink:
    link = dashboard.DashboardLink(f"Runbook: {name}").url(f"${{runbook}}#{name.lower()}")
    return link.target_blank(True)


def query(expression: str, legend: str = "") -> prometheus.Dataquery:
    """Return a query over the dashboard's range."""
    found = prometheus.Dataquery().expr(expression).legend_format(legend or "__auto")
    return found.editor_mode(QueryEditorMode.CODE).range()


def instant(expression: str, legend: str = "") -> prometheus.Dataquery:
    """Return a query of the end of the dashboard's range."""
    return query(expression, legend).instant()


def cells(expression: str) -> prometheus.Dataquery:
    """Return a query for columns of a table."""
    return instant(expression).format(PromQueryFormat.TABLE)


def buckets(expression: str) -> prometheus.Dataquery:
    """Return a query for the buckets of a heat map."""
    return query(expression, "{{le}}").format(PromQueryFormat.HEATMAP)


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Return where a value changes its colour."""
    config = dashboard.ThresholdsConfig().mode(model.ThresholdsMode.ABSOLUTE)
    return config.steps([model.Threshold(value, colour) for value, colour in steps])


def mappings(words: ValueWords) -> list[model.ValueMapping]:
    """Return what numbers are shown as."""
    return [
        model.ValueMap(
            {
                str(number): model.ValueMappingResult(text=text, color=colour, index=index)
                for index, (number, (text, colour)) in enumerate(words.items())
            }
        )
    ]


def _by(mode: model.FieldColorModeId) -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(mode)


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def tile(steps: Steps = GOOD_IS_ZERO) -> stat.Panel:
    """Return a tile with one number; its colour says whether somebody has to act."""
    panel = stat.Panel().unit("short").decimals(0).thresholds(thresholds(steps))
    panel.color_mode(styles.BigValueColorMode.BACKGROUND).graph_mode(styles.BigValueGraphMode.NONE)
    return panel.text_mode(styles.BigValueTextMode.VALUE).reduce_options(_last())


def timeline(words: ValueWords) -> statetimeline.Panel:
    """Return a band for each series, coloured by what its numbers mean."""
    panel = (
        statetimeline.Panel().mappings(mappings(words)).color_scheme(_by(model.FieldColorModeId.THRESHOLDS))
    )
    panel.thresholds(thresholds([(None, GREY)])).line_width(0).fill_opacity(75).row_height(0.85)
    panel.show_value(styles.VisibilityMode.NEVER).merge_values(True)
    return panel.legend(_legend(styles.LegendDisplayMode.LIST, []))


def lines(unit: str, *, calcs: Sequence[str] = ("lastNotNull", "max")) -> timeseries.Panel:
    """Return lines over time, with their figures in a table beneath."""
    panel = timeseries.Panel().unit(unit).line_width(1).fill_opacity(8).axis_soft_min(0)
    panel.color_scheme(_by(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
    panel.show_points(styles.VisibilityMode.NEVER)
    tooltip = (
        common.VizTooltipOptions().mode(styles.TooltipDisplayMode.MULTI).sort(styles.SortOrder.DESCENDING)
    )
    return panel.tooltip(tooltip).legend(_legend(styles.LegendDisplayMode.TABLE, list(calcs)))


def counts() -> timeseries.Panel:
    """Return steps over time for what is counted and rare; where it is never, nothing is drawn."""
    panel = lines("short", calcs=("max",)).decimals(0).no_value("none")
    return panel.line_interpolation(styles.LineInterpolation.STEP_AFTER)


def points(unit: str) -> timeseries.Panel:
    """Return single points on a logarithmic scale."""
    panel = lines(unit, calcs=("lastNotNull", "max")).draw_style(styles.GraphDrawStyle.POINTS).point_size(8)
    return logarithmic(panel.show_points(styles.VisibilityMode.ALWAYS))


def logarithmic(panel: timeseries.Panel) -> timeseries.Panel:
    """Give a panel a logarithmic scale."""
    return panel.scale_distribution(
        common.ScaleDistributionConfig().type(styles.ScaleDistribution.LOG).log(10)
    )


def limited(panel: timeseries.Panel, steps: Steps) -> timeseries.Panel:
    """Draw the thresholds into a panel as dashed lines."""
    style = common.GraphThresholdsStyleConfig().mode(styles.GraphTresholdsStyleMode.DASHED)
    return panel.thresholds(thresholds(steps)).thresholds_style(style)


def mirrored(panel: timeseries.Panel, legend: str) -> timeseries.Panel:
    """Draw the series whose legend matches downwards."""
    return panel.override_by_regexp(
        legend, [model.DynamicConfigValue("custom.transform", styles.GraphTransform.NEGATIVE_Y)]
    )


def bars(unit: str, steps: Steps) -> bargauge.Panel:
    """Return a bar for each series, with its number."""
    panel = bargauge.Panel().unit(unit).min(0).thresholds(thresholds(steps)).reduce_options(_last())
    panel.display_mode(styles.BarGaugeDisplayMode.BASIC).orientation(styles.VizOrientation.HORIZONTAL)
    return panel.show_unfilled(True)


def heat(unit: str) -> heatmap.Panel:
    """Return a heat map of a histogram's buckets."""
    colour = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Turbo").steps(64)
    panel = heatmap.Panel().calculate(False).color(colour.scale(HeatmapColorScale.EXPONENTIAL).exponent(0.5))
    panel.y_axis(heatmap.YAxisConfig().unit(unit)).cell_values(heatmap.CellValues().unit("short").decimals(0))
    panel.rows_frame(heatmap.RowsHeatmapOptions().layout(styles.HeatmapCellLayout.AUTO))
    panel.filter_values(heatmap.FilterValueRange().le(1e-9))
    return panel.show_value(styles.VisibilityMode.NEVER).show_legend().show_tooltip().show_y_histogram()


def grid(columns: Mapping[str, str], *, sort: str) -> table.Panel:
    """Return a table of queries that share their labels; ``columns`` names what is shown, in order."""
    panel = table.Panel().with_transformation(model.DataTransformerConfig("merge", options={}))
    order = {column: place for place, column in enumerate(columns)}
    panel.with_transformation(
        model.DataTransformerConfig("filterFieldsByName", options={"include": {"names": [*columns]}})
    )
    options = {"indexByName": order, "renameByName": dict(columns), "excludeByName": {}}
    panel.with_transformation(model.DataTransformerConfig("organize", options=options))
    return panel.sort_by([common.TableSortByFieldState().display_name(sort).desc(False)])


def coloured(
    panel: table.Panel, column: str, words: ValueWords | Mapping[str, tuple[str, str]]
) -> table.Panel:
    """Show a column's values as coloured words."""
    values = {
        str(value): model.ValueMappingResult(text=text, color=colour, index=index)
        for index, (value, (text, colour)) in enumerate(words.items())
    }
    cell = {"type": styles.TableCellDisplayMode.COLOR_TEXT}
    return panel.override_by_name(
        column,
        [
            model.DynamicConfigValue("mappings", [model.ValueMap(values)]),
            model.DynamicConfigValue("custom.cellOptions", cell),
        ],
    )


def united(panel: table.Panel, column: str, unit: str, decimals: int) -> table.Panel:
    """Give a column its unit."""
    values = {"unit": unit, "decimals": decimals}
    return panel.override_by_name(column, [model.DynamicConfigValue(*value) for value in values.items()])


def _legend(mode: styles.LegendDisplayMode, calcs: list[str]) -> common.VizLegendOptions:
    legend = common.VizLegendOptions().display_mode(mode).placement(styles.LegendPlacement.BOTTOM)
    return legend.show_legend(True).calcs(calcs)
