// Each seat has a lane: the units of the step that are its own, and how many of them are taken, in
// one word that also carries the step's tag. Whoever takes a unit, its owner or another, does so by
// compare-and-swap on that word, so that a thread that lost its CPU in between takes nothing of a
// step that is over. The leader (the caller) opens a step by writing the lanes, each worker waits
// on its own, and says in a word of its own how many units of that tag it has done: a barrier is
// two transfers of a cache line, one to the leader and one back.
//
// A worker touches the caller's memory only while it holds a unit. All that it looks at besides is
// static, so that the caller never waits for one that only looks.
#include "base/team.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <stdexcept>
#include <utility>

#include "base/thread_pool.h"
#include "base/wait.h"
#include "base/workers.h"

namespace tilework {
namespace {

// How long the leader leaves a member its last unit before it takes that too: longer than between
// two units of one that runs.
constexpr int64_t kLeaveLastNs = 2000;
// A member is late when it keeps the leader for this and a whole step more: a page fault or an
// interrupt may have met it.
constexpr int64_t kPatienceNs = 50'000;
// For how many times what waiting for it took a late one stays away.
constexpr int64_t kPayBack = 10;
// How often the leader calls again those who may sleep.
constexpr int64_t kCallAgainNs = 1'000'000;

// Tag, end and next of a lane, or tag and count of what was done. The tags of all steps of a
// process differ (for twelve days of steps of a microsecond).
constexpr int kBits = 12;
static_assert(kMostUnits < int64_t{1} << kBits);
constexpr uint64_t kMask = (uint64_t{1} << kBits) - 1;
constexpr uint64_t packed(uint64_t tag, uint64_t end, uint64_t next) {
  return tag << 2 * kBits | end << kBits | next;
}
constexpr uint64_t tag_of(uint64_t word) { return word >> 2 * kBits; }
constexpr int64_t end_of(uint64_t word) { return static_cast<int64_t>(word >> kBits & kMask); }
constexpr int64_t next_of(uint64_t word) { return static_cast<int64_t>(word & kMask); }

// An open lane ends beyond its first unit.
constexpr uint64_t kShut = 0;

// Two lines each: some processors fetch them in pairs.
struct alignas(128) Word {
  std::atomic<uint64_t> word{kShut};
};

struct Shared {
  Word lanes[kLargestTeam];  // written by whoever takes
  Word done[kLargestTeam];   // written by the seat's thread
  std::atomic<int> threads{0};

  // The leader writes these while no unit is out, and others read them while they hold one.
  alignas(128) const FunctionRef<void(int64_t, int64_t)>* body = nullptr;
  int64_t step = 0;

  alignas(128) std::atomic<bool> leader_sleeps{false};
  std::atomic<int64_t> waits_since{0};
  std::atomic<uint32_t> bell{0};  // wakes the leader
  std::atomic<bool> failed{false};
  std::exception_ptr error;
} g_team;

uint64_t g_tag = 0;  // the leader's

// In a forked child nobody is in a team.
[[maybe_unused]] const int g_fork_handler = pthread_atfork(nullptr, nullptr, [] {
  for (Word& lane : g_team.lanes) lane.word.store(kShut);
});

// The next unit of a lane, or -1. To another thread than its owner, the last one is left: what it
// reads lies in the owner's cache.
int64_t take(Word& lane, uint64_t tag, bool even_last) {
  uint64_t word = lane.word.load(std::memory_order_relaxed);
  for (;;) {
    const int64_t left = end_of(word) - next_of(word);
    if (tag_of(word) != tag || left < (even_last ? 1 : 2)) return -1;
    if (lane.word.compare_exchange_weak(word, word + 1, std::memory_order_acquire,
                                        std::memory_order_relaxed))
      return next_of(word);
  }
}

void run_unit(int64_t unit) {
  if (g_team.failed.load(std::memory_order_relaxed)) return;
  try {
    (*g_team.body)(g_team.step, unit);
  } catch (...) {
    if (!g_team.failed.exchange(true)) g_team.error = std::current_exception();
  }
}

// --- a worker ---

thread_local int64_t t_stay_away_until = 0;

// Either the leader sees the unit done, or this thread sees that the leader sleeps: then it has
// waited for this.
void say_done(int seat, uint64_t tag, uint64_t count) {
  g_team.done[seat].word.exchange(packed(tag, 0, count));
  if (!g_team.leader_sleeps.load()) return;
  const int64_t now = now_ns();
  t_stay_away_until = now + kPayBack * (now - g_team.waits_since.load(std::memory_order_relaxed));
  g_team.bell.fetch_add(1);
  futex_wake_one(g_team.bell);
}

void take_part(int seat, uint64_t tag) {
  uint64_t count = 0;
  const int threads = g_team.threads.load(std::memory_order_relaxed);
  for (int k = 0; k < threads; ++k)
    for (int64_t unit; (unit = take(g_team.lanes[(seat + k) % threads], tag, k == 0)) >= 0;) {
      run_unit(unit);
      say_done(seat, tag, ++count);
    }
}

// What a worker does that was called, though it be after the end.
void follow(int seat) {
  if (seat >= kLargestTeam || t_stay_away_until > now_ns()) return;
  std::atomic<uint64_t>& lane = g_team.lanes[seat].word;
  for (uint64_t word; (word = lane.load(std::memory_order_relaxed)) != kShut;) {
    const uint64_t tag = tag_of(word);
    take_part(seat, tag);
    if (t_stay_away_until != 0 && t_stay_away_until > now_ns()) return;
    const auto another = [&] { return tag_of(lane.load(std::memory_order_relaxed)) != tag; };
    if (!spin_until(another, kSpinNs)) return;
  }
}

// --- the leader ---

class Leader {
 public:
  Leader(Job& job, TeamCost cost, const FunctionRef<void(int64_t, int64_t)>& body)
      : job_(job), cost_(cost), threads_(job.threads()) {
    g_team.threads.store(threads_, std::memory_order_relaxed);
    g_team.body = &body;
    g_team.failed.store(false, std::memory_order_relaxed);
  }
  ~Leader() {
    for (int seat = 0; seat < threads_; ++seat) g_team.lanes[seat].word.store(kShut);
  }

  void run() {
    for (int64_t step = 0; step < cost_.steps && !g_team.failed; ++step) {
      open(step);
      if (step % 16 == 0) call();
      own_ = 0;
      for (int seat = 0; seat < threads_; ++seat) take_of(seat, seat == 0 || is_untouched(seat));
      if (!all_are_done()) wait();
    }
    if (const std::exception_ptr error = std::exchange(g_team.error, nullptr))
      std::rethrow_exception(error);
  }

 private:
  int64_t cut(int64_t seat) const { return cost_.units * seat / threads_; }

  void open(int64_t step) {
    g_team.step = step;
    ++g_tag;
    for (int seat = threads_ - 1; seat >= 0; --seat)
      g_team.lanes[seat].word.store(packed(g_tag, cut(seat + 1), cut(seat)),
                                    std::memory_order_release);
  }

  void call() {
    const int64_t now = now_ns();
    if (now < call_at_) return;
    call_at_ = now + kCallAgainNs;
    job_.call(follow);
  }

  // Its owner has not come: all is the leader's.
  bool is_untouched(int seat) const {
    return next_of(g_team.lanes[seat].word.load(std::memory_order_relaxed)) == cut(seat);
  }

  void take_of(int seat, bool even_last) {
    for (int64_t unit; (unit = take(g_team.lanes[seat], g_tag, even_last)) >= 0; ++own_)
      run_unit(unit);
  }

  bool all_are_done() const {
    int64_t done = own_;
    for (int seat = 1; seat < threads_; ++seat) {
      const uint64_t word = g_team.done[seat].word.load();
      if (tag_of(word) == g_tag) done += next_of(word);
    }
    return done == cost_.units;
  }

  void wait() {
    const auto done = [this] { return all_are_done(); };
    if (spin_until(done, kLeaveLastNs)) return;
    for (int seat = 0; seat < threads_; ++seat) take_of(seat, true);
    if (all_are_done()) return;
    if (job_.forked())
      throw std::logic_error("a body that a team shares forked, and its child has no team");
    const int64_t start = now_ns();
    if (spin_until(done, kPatienceNs + static_cast<int64_t>(std::min(cost_.step_ns, 1e9)))) return;
    g_team.waits_since.store(start, std::memory_order_relaxed);
    g_team.leader_sleeps.store(true);
    for (uint32_t seen = g_team.bell.load(); !all_are_done(); seen = g_team.bell.load())
      futex_wait(g_team.bell, seen);
    g_team.leader_sleeps.store(false);
  }

  Job& job_;
  const TeamCost cost_;
  const int threads_;
  int64_t own_ = 0;  // units of this step that the leader has done
  int64_t call_at_ = 0;
};

}  // namespace

void parallel_team(int threads, TeamCost cost, FunctionRef<void(int64_t, int64_t)> body) {
  const double whole_ns = cost.step_ns * static_cast<double>(cost.steps);
  const int most = static_cast<int>(std::min<int64_t>(
      {threads, kLargestTeam, num_threads(), cost.units,
       worthwhile_threads(whole_ns, kThreadCostNs), worthwhile_threads(cost.step_ns, kBarrierNs)}));
  if (most > 1 && cost.units <= kMostUnits && !inside_job()) {
    Job job(most);
    if (job.threads() > 1) return Leader(job, cost, body).run();
  }
  for (int64_t step = 0; step < cost.steps; ++step)
    for (int64_t unit = 0; unit < cost.units; ++unit) body(step, unit);
}

}  // namespace tilework
