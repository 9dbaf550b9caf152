// Work of many short steps, each of which reads what the step before wrote: a recurrent cell over
// time, a decoder over its layers. parallel_for would call and gather the pool at each step;
// a team stays together, with a barrier between steps.
#pragma once

#include <cstdint>

#include "base/function_ref.h"

namespace tilework {

// What a barrier costs for each member but the caller, in ns: steps not much longer are one
// thread's. 490 to 660 were measured between two cores of a Zen 4 (csrc/tests/team.cc, "barrier"),
// on a machine that was never idle, in those windows of time alone in which both threads had their
// part of every step: an idle machine may show less.
inline constexpr double kBarrierNs = 600;

inline constexpr int kLargestTeam = 32;
inline constexpr int64_t kMostUnits = 4095;

struct TeamCost {
  int64_t steps, units;  // of each step
  double step_ns;        // an estimate of one step on one thread
};

// Calls body(step, unit) for each unit of step 0, then for each of step 1, and so on: between two
// steps stands a barrier, after which what the units of the first wrote is seen by those of the
// second. On the calling thread and, where the cost pays for them, on at most `threads` - 1 of the
// pool's.
//
// The team is whoever is there: a unit is a member's when the member takes it, never before, and
// the caller takes what is left. So nobody waits for a worker that sleeps or has lost its CPU but
// for the one unit that it may be in, and one that comes later takes part from then on. A worker
// that kept the caller waiting by such a unit stays away for ten times as long as that took, so
// that a machine with too much to do costs a tenth of what one thread would have taken, and not a
// scheduler's tick at each step. Each thread begins at a share of its own, the same at each step:
// weights that it read lie in its L2 at the next.
//
// Results do not depend on the team, which the body cannot see: as with parallel_for, the cut into
// units is by shape alone, and each output is computed whole by one unit. A unit reads inputs and
// what earlier steps wrote, nothing that its own step writes outside of it (two buffers in turn,
// where a step overwrites what it reads); a sum over units is kept by unit, and added up in their
// order by the next step. Scratch lasts for one unit.
//
// Inside of a task or a team, where the pool serves another thread, and where a step is short, the
// caller does all. When a body throws, units not yet begun are left out, and the first exception is
// rethrown here when those begun have ended. A body must not fork but to become another program: in
// the child, the caller gets std::logic_error, and a worker ends the process.
void parallel_team(int threads, TeamCost cost, FunctionRef<void(int64_t step, int64_t unit)> body);

}  // namespace tilework
