// Products inside of a task: gemm_on_this_thread() gives gemm()'s bits out of the memory that it is
// lent, and calls back for each block of C once; then its two kinds of callers in small.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <type_traits>
#include <vector>

#include "base/cpu.h"
#include "base/memory_pool.h"
#include "base/thread_pool.h"
#include "kernels/gemm/gemm.h"
#include "tests/check.h"
#include "tests/products.h"

using namespace tilework;

namespace {

template <class T>
std::vector<T> values(int64_t n) {
  return drawn<T>(n, std::uniform_real_distribution<float>(-1, 1));
}

template <class T>
T* element(const FinishedBlock<T>& block, int64_t i, int64_t j) {
  if constexpr (std::is_same_v<T, bfloat16>)
    return block.c.narrow() + i * block.c_row + j;
  else
    return block.c + i * block.c_row + j;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Memory as a task lends it: what lies past it is watched.
class Lent {
 public:
  explicit Lent(size_t bytes) : bytes_(bytes), memory_(bytes + kWatched) {
    std::memset(memory_.get() + bytes, kMark, kWatched);
  }
  ~Lent() {
    for (size_t i = 0; i < kWatched; ++i) CHECK(memory_.get()[bytes_ + i] == kMark);
  }
  void* get() const { return memory_.get(); }

 private:
  static constexpr size_t kWatched = 4096;
  static constexpr char kMark = 0x5a;
  const size_t bytes_;
  const Scratch<char> memory_;
};

enum class Fused { nothing, accumulate, everything, residual_is_c };

// One product with all of its operands.
template <class T>
struct Product {
  int64_t m, n, k;
  std::vector<T> a, b, bias, residual, before;
  bool b_along_k;
  Fused fused;

  Product(int64_t m_, int64_t n_, int64_t k_, bool b_along_k_, Fused fused_)
      : m(m_),
        n(n_),
        k(k_),
        a(values<T>(m * k)),
        b(values<T>(n * k)),
        bias(values<T>(n)),
        residual(values<T>(m * n)),
        before(values<T>(m * n)),
        b_along_k(b_along_k_),
        fused(fused_) {}

  GemmArgs<T> args(std::vector<T>& c, std::vector<T>& z) const {
    c = before;
    z.assign(m * n, T{});
    GemmArgs<T> g{.m = m,
                  .n = n,
                  .k = k,
                  .a = {a.data(), k, 1},
                  .b = {b.data(), b_along_k ? 1 : n, b_along_k ? k : 1},
                  .c = output_of(c),
                  .c_row = n};
    g.epilogue.accumulate = fused == Fused::accumulate;
    if (fused == Fused::everything)
      g.epilogue = {false, Activation::gelu, bias.data(), residual.data(), n, z.data(), n};
    if (fused == Fused::residual_is_c)
      g.epilogue = {false, Activation::relu, bias.data(), c.data(), n, nullptr, 0};
    return g;
  }
};

// Blocks as they were called back for: each element once, from left to right, values final. They
// are overwritten, which nothing may notice.
template <class T>
struct Blocks {
  const std::vector<T>& want;
  int64_t n;
  std::vector<int64_t> done;  // columns of each row

  Blocks(const std::vector<T>& want_, int64_t m, int64_t n_) : want(want_), n(n_), done(m) {}

  OnBlock<T> callback() {
    return {[](void* self, const FinishedBlock<T>& b) { static_cast<Blocks*>(self)->see(b); },
            this};
  }
  void see(const FinishedBlock<T>& b) {
    CHECK(b.rows > 0 && b.cols > 0 && b.col % kBlockColumns == 0);
    CHECK(b.cols % kBlockColumns == 0 || b.col + b.cols == n);
    for (int64_t i = 0; i < b.rows; ++i) {
      CHECK(done[b.row + i] == b.col);
      done[b.row + i] += b.cols;
      for (int64_t j = 0; j < b.cols; ++j) {
        T* at = element(b, i, j);
        CHECK(std::memcmp(at, &want[(b.row + i) * n + b.col + j], sizeof(T)) == 0);
        std::memset(at, 0x11, sizeof(T));
      }
    }
  }
  void check(const std::vector<T>& c) const {
    for (const int64_t columns : done) CHECK(columns == n);
    const auto* bytes = reinterpret_cast<const unsigned char*>(c.data());
    for (size_t i = 0; i < c.size() * sizeof(T); ++i) CHECK(bytes[i] == 0x11);
  }
};

template <class T>
void gives_the_bits_of_gemm(const Product<T>& p) {
  std::vector<T> want, z_want, c, z;
  gemm(p.args(want, z_want));
  // What serves a larger product serves this one.
  const Lent workspace(gemm_workspace_bytes<T>(p.m + 5, p.n + 70, p.k));
  const auto compare = [&](GemmArgs<T> g) {
    gemm_on_this_thread(g, workspace.get());
    CHECK(same_bits(c, want) && same_bits(z, z_want));
    const PackedB<T> packed = g.packed;
    Blocks<T> blocks(want, p.m, p.n);
    g = p.args(c, z);
    g.packed = packed;
    gemm_on_this_thread(g, workspace.get(), blocks.callback());
    blocks.check(c);
    CHECK(same_bits(z, z_want));
  };
  compare(p.args(c, z));
  GemmArgs<T> g = p.args(c, z);
  const PackPlan<T> plan = gemm_pack_plan(g);
  if (!plan.routine) return;
  const Scratch<char> packed(plan.bytes);
  gemm_pack(g, plan, packed.get());
  g.packed = {plan.routine, packed.get()};
  gemm(g);  // another routine may serve than does where B lies as it is
  want = c;
  z_want = z;
  g = p.args(c, z);
  g.packed = {plan.routine, packed.get()};
  compare(g);
}

// Each way that a product is made: dots, rows, narrow, few rows, blocked; each with one epilogue of
// the four, another at each shape.
template <class T>
void shapes() {
  int next = 0;
  for (const bool b_along_k : {false, true})
    for (const int64_t m : {1, 3, 20, 33, 70, 300})
      for (const int64_t n : {1, 20, 64, 130, 700})
        for (const int64_t k : {0, 1, 100, 900})
          if (m * n * k <= 300 * 130 * 900)
            gives_the_bits_of_gemm(Product<T>(m, n, k, b_along_k, static_cast<Fused>(next++ % 4)));
}

// Tasks of a parallel loop, each with its own slice of one workspace: nothing else is allocated.
template <class T>
void inside_of_tasks() {
  constexpr int64_t kTasks = 12;
  const Product<T> p(40, 200, 300, true, Fused::everything);
  std::vector<T> want, z_want;
  gemm(p.args(want, z_want));
  std::vector<std::vector<T>> c(kTasks), z(kTasks);
  std::vector<GemmArgs<T>> args;
  for (int64_t i = 0; i < kTasks; ++i) args.push_back(p.args(c[i], z[i]));
  const size_t bytes = gemm_workspace_bytes<T>(p.m, p.n, p.k);
  const Scratch<char> workspaces(kTasks * bytes);
  const int64_t allocations = pool_stats().allocations;
  parallel_for(kTasks, 1e9,
               [&](int64_t i) { gemm_on_this_thread(args[i], workspaces.get() + i * bytes); });
  CHECK(pool_stats().allocations == allocations);
  for (int64_t i = 0; i < kTasks; ++i) CHECK(same_bits(c[i], want) && same_bits(z[i], z_want));
}

// --- attention: running maxima and sums over blocks of scores ---

struct RunningSoftmax {
  std::vector<double> maximum, sum;

  void see(const FinishedBlock<float>& b) {
    for (int64_t i = 0; i < b.rows; ++i) {
      const float* scores = b.c + i * b.c_row;
      double &most = maximum[b.row + i], &total = sum[b.row + i];
      const double now = std::max<double>(most, *std::max_element(scores, scores + b.cols));
      total *= std::exp(most - now);
      for (int64_t j = 0; j < b.cols; ++j) total += std::exp(scores[j] - now);
      most = now;
    }
  }
};

void softmax_over_blocks() {
  const Product<float> p(37, 333, 64, true, Fused::nothing);
  std::vector<float> c, z;
  const GemmArgs<float> g = p.args(c, z);
  RunningSoftmax running{std::vector<double>(p.m, -1e30), std::vector<double>(p.m)};
  const Lent workspace(gemm_workspace_bytes<float>(p.m, p.n, p.k));
  gemm_on_this_thread<float>(
      g, workspace.get(),
      {[](void* to, const FinishedBlock<float>& b) { static_cast<RunningSoftmax*>(to)->see(b); },
       &running});
  for (int64_t i = 0; i < p.m; ++i) {
    const float* row = c.data() + i * p.n;
    const double most = *std::max_element(row, row + p.n);
    double sum = 0;
    for (int64_t j = 0; j < p.n; ++j) sum += std::exp(row[j] - most);
    CHECK(running.maximum[i] == most);
    CHECK(std::abs(running.sum[i] - sum) <= 1e-12 * sum);
  }
}

// --- a recurrent cell: the gates of 16 units lie side by side ---

struct Gates {
  static constexpr int64_t kUnits = kBlockColumns / 4;
  std::vector<float> hidden;
  int64_t units;

  void see(const FinishedBlock<float>& b) {
    for (int64_t i = 0; i < b.rows; ++i)
      for (int64_t j = 0; j < b.cols; j += kBlockColumns)
        for (int64_t u = 0; u < kUnits; ++u) {
          const float* gate = b.c + i * b.c_row + j + u;
          hidden[(b.row + i) * units + (b.col + j) / 4 + u] =
              gate[0] * gate[kUnits] + gate[2 * kUnits] * gate[3 * kUnits];
        }
  }
};

void gates_over_blocks(int64_t batch) {
  const Product<float> p(batch, 5 * kBlockColumns, 80, true, Fused::nothing);
  std::vector<float> c, z;
  GemmArgs<float> g = p.args(c, z);
  const PackPlan<float> plan = gemm_pack_plan(g);
  const Scratch<char> packed(plan.bytes);
  if (plan.routine) {
    gemm_pack(g, plan, packed.get());
    g.packed = {plan.routine, packed.get()};
  }
  Gates gates{std::vector<float>(batch * p.n / 4, NAN), p.n / 4};
  const Lent workspace(gemm_workspace_bytes<float>(p.m, p.n, p.k));
  gemm_on_this_thread<float>(
      g, workspace.get(),
      {[](void* to, const FinishedBlock<float>& b) { static_cast<Gates*>(to)->see(b); }, &gates});
  for (int64_t i = 0; i < batch; ++i)
    for (int64_t unit = 0; unit < p.n / 4; ++unit) {
      const float* gate =
          c.data() + i * p.n + unit / Gates::kUnits * kBlockColumns + unit % Gates::kUnits;
      CHECK(gates.hidden[i * p.n / 4 + unit] == gate[0] * gate[16] + gate[32] * gate[48]);
    }
}

}  // namespace

int main() {
  set_num_threads(3);
  for (int i = 0; i <= static_cast<int>(cpu_info().best); ++i) {
    set_isa(isa_name(static_cast<Isa>(i)));
    shapes<float>();
    shapes<double>();
    shapes<bfloat16>();
    inside_of_tasks<float>();
    inside_of_tasks<double>();
    inside_of_tasks<bfloat16>();
    softmax_over_blocks();
    for (const int64_t batch : {1, 3, 32, 100}) gates_over_blocks(batch);
  }
}
