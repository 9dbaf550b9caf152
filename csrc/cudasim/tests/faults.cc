// What the simulator finds: kernels with one fault each, in every order of threads, beside the same
// kernels without it. A fault that no rung finds fails here.
#include <cmath>
#include <cstdio>
#include <functional>
#include <string>

#include "cudasim/lines.h"
#include "cudasim/tests/device_array.h"
#include "cudasim/tests/faulty.cuh"
#include "cudasim/traffic.h"
#include "tests/check.h"

using namespace tilework::cudasim;
namespace f = tilework::cudasim::faulty;

namespace {

#if defined(TILEWORK_CUDASIM_MONITOR)
constexpr bool kMonitor = true;
#else
constexpr bool kMonitor = false;
#endif

constexpr Order kOrders[] = {Order::forward, Order::reverse, Order::random};
constexpr int kSeeds = 4;  // of the random order

// Runs body in all orders; what the first Fault says, or nothing.
std::string first_fault(const std::function<void()>& body) {
  for (Order order : kOrders) {
    for (int seed = 0; seed < (order == Order::random ? kSeeds : 1); ++seed) {
      settings().order = order;
      settings().seed = static_cast<uint64_t>(seed);
      try {
        body();
      } catch (const Fault& found) {
        return found.what();
      }
    }
  }
  return "";
}

void expect_fault(const char* part, const std::function<void()>& body) {
  const std::string said = first_fault(body);
  if (said.find(part) != std::string::npos) return;
  std::fprintf(stderr, "expected a fault with \"%s\", got \"%s\"\n", part, said.c_str());
  std::abort();
}

void expect_none(const std::function<void()>& body) {
  const std::string said = first_fault(body);
  if (said.empty()) return;
  std::fprintf(stderr, "expected no fault, got \"%s\"\n", said.c_str());
  std::abort();
}

std::vector<float> numbers(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = static_cast<float>(i);
  return values;
}

bool in_all_orders(const std::function<bool()>& holds) {
  bool all = true;
  expect_none([&] { all &= holds(); });
  return all;
}

// --- barriers, by the values and by the monitor ---

void neighbours() {
  const DeviceArray<float> y(f::kBlock);
  const auto right = [&](auto kernel) {
    return in_all_orders([&] {
      TW_LAUNCH(kernel, 1, f::kBlock, 0, nullptr, y.data());
      const auto got = y.values();
      for (size_t i = 0; i < got.size(); ++i) {
        if (got[i] != static_cast<float>((i + 1) % got.size())) return false;
      }
      return true;
    });
  };
  CHECK(right(f::neighbour<true>));
  settings().races = false;  // some order alone shows what is missing
  CHECK(!right(f::neighbour<false>));
  settings().races = true;
}

template <class Kernel>
void expect_race(const char* part, Kernel right, Kernel wrong) {
  const DeviceArray<float> y(f::kBlock);
  expect_none([&] { TW_LAUNCH(right, 1, f::kBlock, 0, nullptr, y.data()); });
  if (!kMonitor) return;
  expect_fault(part, [&] { launch("wrong", wrong, {1, f::kBlock}, y.data()); });
}

void races() {
  // Whichever comes second is told, in the first order of threads: forward.
  expect_race("[wrong] a race: a store of 4 bytes, which a load at faulty.cuh:16 by thread 0",
              f::neighbour<true>, f::neighbour<false>);
  expect_race("[wrong] a race: a load of 4 bytes, which a store at faulty.cuh:25 by thread 31",
              f::overwrite<true>, f::overwrite<false>);
  const DeviceArray<float> y(32);
  expect_none([&] { TW_LAUNCH(f::warp_sum<true>, 1, 32, 0, nullptr, y.data()); });
  CHECK(y.values()[0] == 32);
  if (!kMonitor) return;
  expect_fault("a race", [&] { TW_LAUNCH(f::warp_sum<false>, 1, 32, 0, nullptr, y.data()); });
  const DeviceArray<int> n(std::vector<int>{0});
  expect_none([&] { TW_LAUNCH(f::count<true>, 4, 32, 0, nullptr, n.data()); });
  CHECK(n.values()[0] == 4 * 32 * (2 + kSeeds));
  expect_fault("a race", [&] { TW_LAUNCH(f::count<false>, 1, 32, 0, nullptr, n.data()); });
  expect_fault("of another block", [&] { TW_LAUNCH(f::count<false>, 4, 1, 0, nullptr, n.data()); });
  expect_fault("a race", [&] { TW_LAUNCH(f::half_atomic, 1, 32, 0, nullptr, n.data()); });
  const DeviceArray<uint8_t> bytes(32);
  expect_none([&] { TW_LAUNCH(f::mark_bytes<true>, 1, 32, 0, nullptr, bytes.data()); });
  expect_fault("a race", [&] { TW_LAUNCH(f::mark_bytes<false>, 1, 32, 0, nullptr, bytes.data()); });
}

void poison() {
  std::vector<int> bins(f::kBlock);
  for (int i = 0; i < f::kBlock; ++i) bins[static_cast<size_t>(i)] = i % 8;
  const DeviceArray<int> x(bins), y(8);
  const auto counted = [&](auto kernel) {
    TW_LAUNCH(kernel, 1, f::kBlock, 0, nullptr, x.data(), y.data());
    for (int count : y.values()) {
      if (count != f::kBlock / 8) return false;
    }
    return true;
  };
  expect_none([&] { CHECK(counted(f::histogram<true>)); });
  expect_none([&] { CHECK(!counted(f::histogram<false>)); });
  CHECK(std::isnan(DeviceArray<float>(3).values()[2]));
}

// --- memory ---

void bounds() {
  const DeviceArray<float> x(numbers(256)), y(f::kBlock), z(256);
  const auto fault_where = [&](const char* part, auto kernel, Shape shape, auto... arguments) {
    expect_fault(part, [&] { launch("kernel", kernel, shape, arguments...); });
  };
  if (kMonitor) {
    fault_where("[kernel] a store of 4 bytes at byte 256 of an array of 256 at faulty.cuh:",
                f::past_global, {2, f::kBlock}, y.data(), f::kBlock);
    fault_where("a store of 4 bytes at byte 256 of a shared array of 256", f::past_shared,
                {1, f::kBlock}, y.data());
    fault_where("at byte 256 of a shared array of 256", f::past_dynamic, {1, f::kBlock, 256},
                y.data(), f::kBlock);
#if !defined(__clang__)  // which takes the vector apart before it tells of the load
    fault_where("a load of 16 bytes at byte 4 of an array: an access is aligned", f::misaligned,
                {1, 32}, x.data(), reinterpret_cast<float4*>(z.data()));
#endif
    const std::vector<float> host(f::kBlock);
    fault_where("no memory of the device", f::host_pointer, {1, 32}, host.data(), y.data());
    fault_where("no memory of the device", f::foreign_local, {1, f::kBlock}, y.data());
  }
  fault_where("dynamic shared memory is asked for", f::past_dynamic, {1, f::kBlock}, y.data(), 1);
  fault_where("52000 bytes of shared memory, and sm_89 allows 49152", f::too_much_shared,
              {1, f::kBlock}, y.data());
  fault_where("32000 bytes of shared memory beside 20000 dynamic ones", f::too_much_beside,
              {1, f::kBlock, 20000}, y.data());
}

// --- what threads do together ---

void collectives() {
  const DeviceArray<float> y(f::kBlock);
  const auto fault_of = [&](const char* part, void (*kernel)(float*), uint32_t threads) {
    expect_fault(part, [&] { TW_LAUNCH(kernel, 1, threads, 0, nullptr, y.data()); });
  };
  fault_of("__syncthreads is reached by some threads, and by others", f::split_barrier, 32);
  fault_of("deadlock", f::missed_barrier, 32);
  fault_of("__shfl_down_sync names lane 2", f::shuffle_ended, 32);
  fault_of("deadlock", f::shuffle_missed, 32);
  fault_of("takes the value of lane 16, which its mask does not name", f::shuffle_unnamed, 32);
  fault_of("called by a lane that its mask does not name", f::shuffle_outside, 32);
  fault_of("names lane 16, which the block has not", f::shuffle_missed, 16);
}

void async_copies() {
  const DeviceArray<float> x(numbers(4 * f::kBlock)), y(4 * f::kBlock);
  const float* from = x.data();
  const auto copied = [&](auto kernel) {
    TW_LAUNCH(kernel, 1, f::kBlock, 0, nullptr, from, y.data());
    return y.values() == x.values();
  };
  expect_none([&] { CHECK((copied(f::row<0, true>))); });
  expect_fault("cp.async copies not waited for", [&] { copied(f::row<1, true>); });
  expect_fault("cp.async copies not waited for", [&] { copied(f::row<0, false>); });
  expect_fault("a store of 16 bytes in global memory, by an instruction for the other",
               [&] { TW_LAUNCH(f::row_to_global, 1, f::kBlock, 0, nullptr, from, y.data()); });
  expect_fault("a load of 16 bytes in shared memory, by an instruction for the other",
               [&] { TW_LAUNCH(f::row_of_shared, 1, f::kBlock, 0, nullptr, y.data()); });
  expect_none([&] { TW_LAUNCH(f::row_of_others<true>, 1, f::kBlock, 0, nullptr, from, y.data()); });
  if (!kMonitor) return;
  expect_fault("a race", [&] {
    TW_LAUNCH(f::row_of_others<false>, 1, f::kBlock, 0, nullptr, from, y.data());
  });
}

void spaces() {
  const DeviceArray<float> y(4 * f::kBlock);
  const auto fault_of = [&](const char* part, void (*kernel)(float*)) {
    expect_fault(part, [&] { TW_LAUNCH(kernel, 1, f::kBlock, 0, nullptr, y.data()); });
  };
  fault_of("a store of 16 bytes in shared memory, by an instruction", f::shared_as_global);
  fault_of("a load of 16 bytes in a thread's own memory, by an instruction", f::local_as_global);
  fault_of("a load of 16 bytes in global memory, by an instruction", f::matrices_of_global);
}

void limits() {
  const DeviceArray<float> y(2048);
  const auto refused = [&](const char* part, Shape shape) {
    expect_fault(part, [&] { launch("big", f::neighbour<true>, shape, y.data()); });
  };
  refused("[big] a block of (1025, 1, 1) threads", {1, 1025});
  refused("a block of (1, 1, 65) threads", {1, dim3(1, 1, 65)});
  refused("a block of (0, 1, 1) threads", {1, 0});
  refused("a grid of (1, 65536, 1) blocks", {dim3(1, 65536), 32});
  refused("sm_89 has 101376 for a block", {1, 32, 100 * 1024});
  settings().architecture = kSm90;
  expect_none([&] { launch("big", f::warp_sum<true>, {1, 32, 200 * 1024}, y.data()); });
  settings().architecture = kSm89;
}

// --- what memory costs ---

double cost_of_worst(const std::function<void()>& body, Region::Kind kind) {
  settings().traffic = true;
  settings().races = false;
  settings().order = Order::random;
  take_traffic();
  body();
  settings().traffic = false;
  settings().races = true;
  for (const LineTraffic& line : take_traffic()) {
    if (line.kind == kind) {
      return static_cast<double>(line.cost) / static_cast<double>(line.ideal);
    }
  }
  return 0;
}

void traffic() {
  if (!kMonitor) return;
  const DeviceArray<float> x(numbers(1024)), y(1024);
  const float* from = x.data();
  const auto banks = [&](auto kernel) {
    return cost_of_worst([&] { TW_LAUNCH(kernel, 1, dim3(32, 32), 0, nullptr, from, y.data()); },
                         Region::Kind::shared);
  };
  CHECK(banks(f::transpose<32>) == 32);
  CHECK(banks(f::transpose<33>) == 1);
  CHECK(cost_of_worst([&] { TW_LAUNCH(f::row_sums, 1, 32, 0, nullptr, from, y.data()); },
                      Region::Kind::global) == 8);
}

}  // namespace

int main() {
  neighbours();
  races();
  poison();
  bounds();
  collectives();
  async_copies();
  spaces();
  limits();
  traffic();
  return 0;
}
