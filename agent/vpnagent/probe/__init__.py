"""Whether a path carries traffic, and what is done when it does not: the prober.

A process of its own (``python -m vpnagent.probe``) that goes on while the control daemon is hung, stopped or
dead. One thread, one timer, no third-party import. What it shares with the control daemon is in ``intent``
and ``protocol`` (values), ``client`` (the daemon's end) and ``craft`` (packets that scapy makes).

Who calls whom. The shell calls the core, never the other way: the core returns actions.

    prober      the loop: drain, decide, do, sleep; messages of the daemon (``server``)
      shell     sockets, groups, charon, counters: does actions, tells facts
      core      facts in, actions out; no clock, no I/O
        board   all paths and domains, and which is due when; stalls of our own
          path        one tunnel: probes out, replies in
            window      its last probes: loss, RTT
            silence     how long nothing was heard although it was asked
            schedule    whom to ask next, and when
            detector    init, up, degraded, hold-down, down: a table
            evidence    which way replies come, others' packets, the IKE daemon
          domain      tunnels that stand in for each other: return traffic may come on any
            blame       witnesses to judgements: pure
            inquiry     all silent at once: ask the IKE daemons, blame or suspect the target
            suspicion   where that stands, and how long another guess is forbidden
            remedy      one tunnel that was taken down: asked, reset, left down, tried again
            recovery    nothing carries: try all, one after the other
            situation   the facts of all of them, and the two laws of resetting
            measures    the hands of inquiry, domain and recovery
        switchover  verdicts to group members (``selection``), and the failover's story
        outlook     what is told of it: reports, findings

Which state lives where. What is known of a path by itself: ``path`` and below. What is known only by
looking at several: ``situation``, owned by ``domain``. What each group holds: ``switchover``. What the kernel
holds: ``switch``. What a successor needs: the state file (``lifecycle``), made of the daemon's messages.

Words. *Quiet*: a probe was missed. *Silent*: nothing heard for the detection time. *Verdict*: a path is
down. *Return path*: the tunnel on which the cloud sends. *Held*: left down by us; nobody else brings it up.
*Trial*: a held tunnel is brought up and listened to. *Stranded*: nothing carries.

The walk of one reply. The kernel stamps it, and its filter passes it (``packet``, ``socket_filter``); an
``inbox`` takes it, as far as is allowed; TCP and DNS ask once more where it ends a silence
(``outstanding``); ``shell.drain`` finds whose probe it answers and which interface it came by;
``core.probe_answered`` finds its slot in the window; ``path.answered`` ends the silence
and asks the detector; ``domain.heard`` notes the return path, and ends whatever was suspected; if a state
changed, ``core.advance`` selects anew and returns the group write first.

A reply that is missing may have been dropped on this machine. While a path is quiet (``core.doubtful``) the
shell has a ``tap`` on all interfaces; what it sees and no socket had is told as ``filtered``. It is a sign of
life like any other, so no tunnel is judged for it; after a detection time of nothing else the path is
degraded, ``ProbeRepliesFiltered``, and the tap stays open.

The walk of one recovery. The standby is left down, the active tunnel's ESP dies.

    0.00  the last reply arrives
    0.12  its successor is missed: ``path`` is quiet, asks all targets at once, reads the counters
    0.24  ``inquiry`` asks the IKE daemon ahead of the verdict; it answers
    0.30  silent: ``domain`` judges; nobody else hears the target; ``inquiry`` blames it: down
          ``situation.stranded``: nothing carries; ``recovery`` begins
          CLEARING: the dead tunnel is terminated, and its DELETE moves the cloud
          TRYING: the standby is initiated
    0.36  its CHILD_SA is installed: it is listened to
    0.37  heard: hold-down; ``recovery`` ends; the group is written; the dead one rests, as a held one

Laws. A stall of ours is no silence: all that can be under way is drained before anything is judged, late
ticks cover nothing. No flood holds a verdict back: what is drained at a wake-up is bounded, what is due
comes first. An answer to a former intent is none. One
reset at a time. What was heard within its detection time is not reset. If some tunnel works, traffic flows
(ADR 10). What was never heard proves nothing.
"""
