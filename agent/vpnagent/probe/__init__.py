"""Whether a path carries traffic, and what is done when it does not: the prober.

A process of its own (``python -m vpnagent.probe``) that goes on while the control daemon is hung, stopped or
dead. One thread, one timer, no third-party import. What it shares with the control daemon is in ``intent``,
``actions`` and ``protocol`` (values), ``client`` (the daemon's end) and ``craft`` (packets that scapy makes).

Who calls whom. The shell calls the core, never the other way: the core returns actions.

    prober        the loop: drain, decide, do, sleep; messages of the daemon (``server``)
      shell       does actions, tells facts
        sockets     probes out, answers in; what they share is in ``slots``, what they send in ``packets``
        inbox       what waits is taken in: epoll, filters, bounds, receive times; the tap
        kernel      nexthop groups, and the routes that went with them
        ike_daemons charon, by VICI; the peers' IKE daemons, by a ping
      core        facts in, actions out; no clock, no I/O
        scheduler   all paths and domains, and which is due when; stalls of our own
          path        one tunnel, by itself
            confirmation  a probe was missed: a short burst; whether the path is to be suspected
            probes      when the next leaves, and whom it asks; loss and RTT of the last ones, and their grade
            detector    silence, hold-down, and the table: init, up, degraded, hold-down, down
            evidence    which way replies come, others' packets, the IKE daemon; limits of a probe target
          domain      tunnels that stand in for each other: return traffic may come on any
            situation   the facts of all of them: who is to blame, what is suspected, what may be reset
            measures    what is done about it; the inquiry, when all are silent at once
            remedy      one tunnel that was taken down: asked, reset, left down, tried again
            recovery    nothing carries: try all, one after the other
        switchover  verdicts to group members (``selection``), the failover's story; reports and findings

Which state lives where. What is known of a path by itself: ``path`` and below. What is known only by
looking at several: ``situation``, owned by ``domain``. What each group should hold: ``switchover``. What the
kernel holds: ``kernel``. What a successor needs: the state file (``server``), made of the daemon's messages.

Words. *Quiet*: a probe was missed. *Silent*: nothing heard for the detection time. *Verdict*: a path is
down. *Domain*: connections that share networks, with their tunnels. *Return path*: the tunnel on which the
cloud sends. *Held*: left down by us; nobody else brings it up. *Trial*: a held tunnel is brought up and
listened to. *Stranded*: nothing carries.

The walk of one reply. The kernel stamps it, and a filter passes it (``packets``, ``inbox.attach``); an
``Inbox`` takes it, as far as is allowed; TCP and DNS ask once more where it ends a silence
(``slots.Outstanding``); ``Shell.drain`` finds whose probe it answers and which interface it came by;
``Core.probe_answered`` finds the probe in the window; ``Path.answered`` ends the silence and asks the
detector; ``Domain.heard`` notes the return path, and ends whatever was suspected; if a state changed,
``Core.advance`` selects anew and returns the group write first.

A reply that is missing may have been dropped on this machine. While a path is quiet
(``Core.suspects_filter``) the shell has an ``inbox.Tap`` on all interfaces; what it sees and no socket had is
told as ``filtered``. It is a sign of life like any other, so no tunnel is judged for it; after a detection
time of nothing else the path is degraded, ``ProbeRepliesFiltered``, and the tap stays open.

The walk of one recovery. The standby is left down, the active tunnel's ESP dies.

    0.00  the last reply arrives
    0.12  its successor is missed: ``path`` is quiet, asks all targets at once, reads the counters
    0.24  ``Inquiry`` asks the IKE daemon ahead of the verdict; it answers
    0.30  silent: ``domain`` judges; nobody else hears the target; ``Inquiry`` blames it: down
          ``Situation.stranded``: nothing carries; ``recovery`` begins
          CLEARING: the dead tunnel is terminated, and its DELETE moves the cloud
          TRYING: the standby is initiated
    0.36  its CHILD_SA is installed: it is listened to
    0.37  heard: hold-down; ``recovery`` ends; the group is written; the dead one rests, as a held one

Laws. A stall of ours is no silence: all that can be under way is drained before anything is judged, late
ticks cover nothing. No flood holds a verdict back: what is drained at a wake-up is bounded, what is due
comes first. An answer to a former intent is none. One reset at a time. What was heard within its
detection time is not reset. If some tunnel works, traffic flows (ADR 10). What was never heard proves
nothing.
"""
