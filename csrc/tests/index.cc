// Choosing, reducing and grouping by an index, in every ISA of this machine, against plain loops;
// an index outside is told, and never followed.
#include "kernels/index/index.h"

#include <vector>

#include "check.h"
#include "kernels/embedding/embedding.h"
#include "smoke.h"

using namespace tilework;

namespace {

std::vector<int64_t> places(int64_t count, int64_t below) {
  static std::minstd_rand random(2);
  std::vector<int64_t> index(static_cast<size_t>(count));
  for (int64_t& i : index) i = static_cast<int64_t>(random()) % below;
  return index;
}

template <class T>
void check_groups(int64_t m, int64_t n, int64_t cols) {
  const auto x = values<T>(m * cols);
  const auto index = places(m, n);
  std::vector<T> sums(n * cols), tops(n * cols);
  std::vector<int64_t> from(n * cols);
  const Index rows{index.data(), n, false};
  CHECK(add_rows<T>({1, n, m, cols}, nullptr, x.data(), rows, -1, false, sums.data()));
  CHECK(largest_rows<T>(m, cols, x.data(), rows, tops.data(), from.data()));
  for (int64_t r = 0; r < n; ++r)
    for (int64_t j = 0; j < cols; ++j) {
      Longest sum = 0, size = 0;
      int64_t best = -1;
      for (int64_t i = 0; i < m; ++i) {
        if (index[i] != r) continue;
        const T here = x[i * cols + j];
        sum += here;
        size += std::abs(here);
        if (best < 0 || here > x[best * cols + j]) best = i;
      }
      near(sums[r * cols + j], sum, size);
      CHECK(from[r * cols + j] == best);
      CHECK(tops[r * cols + j] == (best < 0 ? T(0) : x[best * cols + j]));
    }
}

template <class T>
void check_lines(const Lines& s) {
  const auto x = values<T>(s.outer * s.n * s.inner), source = values<T>(s.chosen());
  auto index = places(s.chosen(), s.n);
  std::vector<T> chosen(s.chosen()), sums(x.size());
  const Index at{index.data(), s.n, false};
  CHECK(gather(s, sizeof(T), x.data(), at, chosen.data()));
  CHECK(scatter_reduce<T>(s, Combine::sum, true, x.data(), source.data(), at, false, sums.data()));
  std::vector<Longest> want(x.begin(), x.end()), size(x.size(), 2);
  for (int64_t p = 0; p < s.chosen(); ++p) {
    const int64_t o = p / (s.m * s.inner), j = p % s.inner;
    const int64_t place = (o * s.n + index[p]) * s.inner + j;
    CHECK(chosen[p] == x[place]);
    want[place] += source[p];
    size[place] += std::abs(source[p]);
  }
  for (size_t i = 0; i < sums.size(); ++i) near(sums[i], want[i], size[i]);
  for (const int64_t outside : {s.n, int64_t{-1}, INT64_C(1) << 40}) {
    index[s.chosen() / 2] = outside;
    CHECK(!gather(s, sizeof(T), x.data(), at, chosen.data()));
    CHECK(!scatter_reduce<T>(s, Combine::largest, false, x.data(), source.data(), at, false,
                             sums.data()));
    CHECK(first_outside(at, s.chosen()) == s.chosen() / 2);
  }
}

template <class T>
void check_all() {
  for (const int64_t cols : {1, 3, 16, 37, 128, 300}) check_groups<T>(150, 4, cols);
  check_groups<T>(3, 9, 64);
  for (const Lines& s : {Lines{3, 7, 5, 1}, Lines{2, 9, 11, 3}, Lines{1, 40, 60, 130}})
    check_lines<T>(s);
  check_lines<T>({1, 70'000, 500, 1});
}

}  // namespace

int main() {
  for (int i = 0; i <= static_cast<int>(cpu_info().best); ++i) {
    set_isa(isa_name(static_cast<Isa>(i)));
    g_check = "index";
    check_all<float>();
    check_all<double>();
  }
  std::puts("index: ok");
}
