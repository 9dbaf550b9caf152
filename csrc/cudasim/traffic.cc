#include "cudasim/traffic.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>

#include "cudasim/block.h"
#include "cudasim/lines.h"

namespace tilework::cudasim {
namespace {

constexpr uint64_t kBankBytes = 4, kBanks = 32, kSectorBytes = 32;
constexpr int kPassBytes = 128;  // what a warp asks for at a time: 16-byte accesses by quarters

using LineKey = std::tuple<std::string, uint32_t, Region::Kind, int, bool>;  // of a kernel

// Threads of a warp run apart here; what one instruction of theirs does together is found by how
// often each has come to the line.
struct WarpAccess {
  LineKey line;
  std::map<uint32_t, uint64_t> offsets;  // by lane: neighbours go together, whoever came first
};
std::map<std::tuple<uint32_t, uint32_t, uint32_t>, WarpAccess> accesses;  // line, warp, time
std::unordered_map<uint64_t, uint32_t> times;                             // by line and thread

struct Sums {
  uint64_t warps = 0, cost = 0, ideal = 0;
};
std::map<LineKey, Sums> sums;

void count_shared(const std::vector<uint64_t>& offsets, int bytes, Sums& sum) {
  const size_t at_once = std::max(1, std::min(kWarp, kPassBytes / bytes));
  for (size_t first = 0; first < offsets.size(); first += at_once) {
    std::map<uint64_t, std::set<uint64_t>> words_of_bank;
    std::set<uint64_t> words;
    for (size_t i = first; i < std::min(first + at_once, offsets.size()); ++i) {
      const uint64_t last = (offsets[i] + static_cast<uint64_t>(bytes) - 1) / kBankBytes;
      for (uint64_t word = offsets[i] / kBankBytes; word <= last; ++word) {
        words_of_bank[word % kBanks].insert(word);
        words.insert(word);
      }
    }
    size_t passes = 0;
    for (const auto& [bank, of_bank] : words_of_bank) passes = std::max(passes, of_bank.size());
    sum.cost += passes;
    sum.ideal += (words.size() + kBanks - 1) / kBanks;
  }
}

void count_global(const std::vector<uint64_t>& offsets, int bytes, Sums& sum) {
  std::set<uint64_t> sectors, distinct(offsets.begin(), offsets.end());
  for (uint64_t offset : offsets) {
    sectors.insert(offset / kSectorBytes);
    sectors.insert((offset + static_cast<uint64_t>(bytes) - 1) / kSectorBytes);
  }
  sum.cost += sectors.size();
  sum.ideal += (distinct.size() * static_cast<uint64_t>(bytes) + kSectorBytes - 1) / kSectorBytes;
}

}  // namespace

void count_traffic(uint32_t line, const Region& region, uint64_t offset, int bytes, bool store) {
  const Thread& thread = this_thread();
  const uint32_t time = times[uint64_t{line} << 16 | thread.linear]++;
  WarpAccess& access = accesses[{line, thread.warp, time}];
  if (access.offsets.empty()) access.line = {this_grid().kernel, line, region.kind, bytes, store};
  access.offsets[thread.linear] = region.window + offset;
}

void end_traffic_block() {
  for (const auto& [key, access] : accesses) {
    Sums& sum = sums[access.line];
    ++sum.warps;
    const int bytes = std::get<3>(access.line);
    const bool shared = std::get<2>(access.line) == Region::Kind::shared;
    std::vector<uint64_t> offsets;
    for (const auto& [lane, offset] : access.offsets) offsets.push_back(offset);
    (shared ? count_shared : count_global)(offsets, bytes, sum);
  }
  accesses.clear();
  times.clear();
}

std::vector<LineTraffic> take_traffic() {
  std::vector<LineTraffic> taken;
  for (const auto& [key, sum] : sums) {
    const auto& [kernel, line, kind, bytes, store] = key;
    taken.push_back({kernel, line_text(line), kind, bytes, store, sum.warps, sum.cost, sum.ideal});
  }
  sums.clear();
  std::stable_sort(taken.begin(), taken.end(), [](const LineTraffic& a, const LineTraffic& b) {
    return a.cost - a.ideal > b.cost - b.ideal;
  });
  return taken;
}

std::string table(const std::vector<LineTraffic>& lines) {
  std::string text =
      "line                       memory  access    bytes     warps   cost a warp   ideal\n";
  for (const LineTraffic& line : lines) {
    const bool shared = line.kind == Region::Kind::shared;
    char row[160];
    std::snprintf(row, sizeof row, "%-26s %-7s %-9s %5d %9llu %8.2f %-7s %5.2f\n",
                  line.line.c_str(), shared ? "shared" : "global", line.store ? "store" : "load",
                  line.bytes, static_cast<unsigned long long>(line.warps),
                  static_cast<double>(line.cost) / static_cast<double>(line.warps),
                  shared ? "passes" : "sectors",
                  static_cast<double>(line.ideal) / static_cast<double>(line.warps));
    text += row;
  }
  return text;
}

}  // namespace tilework::cudasim
