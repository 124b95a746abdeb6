// SPDX-License-Identifier: Apache-2.0
#include "cuda_emulation.hpp"

#include <ucontext.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <vector>

namespace reid::ops::cuda {

emulation::Index threadIdx, blockIdx, gridDim;

namespace emulation {
namespace {

constexpr std::size_t kStack = std::size_t{128} << 10;
constexpr int kEnded = -1;

struct Fiber {
  ucontext_t context{};
  std::unique_ptr<char[]> stack;
  int line = 0;  // of the barrier that it waits at
};

Order chosen = Order::forward;
ucontext_t scheduler;
std::vector<Fiber> fibers;
std::vector<uint64_t> memory;
const std::function<void()>* kernel = nullptr;
std::exception_ptr thrown;

void enter() {
  try {
    (*kernel)();
  } catch (...) {
    thrown = std::current_exception();
  }
  fibers[threadIdx.x].line = kEnded;
}

/// Each thread up to its next barrier or its end.
void run_once(const std::vector<unsigned>& order) {
  for (const unsigned thread : order) {
    threadIdx.x = thread;
    swapcontext(&scheduler, &fibers[thread].context);
    if (thrown) std::rethrow_exception(thrown);
  }
  const int line = fibers.front().line;
  if (std::any_of(fibers.begin(), fibers.end(), [&](const Fiber& fiber) { return fiber.line != line; })) {
    throw std::logic_error("cuda emulation: all threads of a block must reach the same barrier, got some elsewhere");
  }
}

void start(Fiber& fiber) {
  if (!fiber.stack) fiber.stack = std::make_unique<char[]>(kStack);
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStack;
  fiber.context.uc_link = &scheduler;
  makecontext(&fiber.context, enter, 0);
}

void run_block(std::mt19937& random) {
  for (auto& fiber : fibers) start(fiber);
  std::vector<unsigned> order(fibers.size());
  std::iota(order.begin(), order.end(), 0U);
  if (chosen == Order::backward) std::reverse(order.begin(), order.end());
  do {
    if (chosen == Order::shuffled) std::shuffle(order.begin(), order.end(), random);
    run_once(order);
  } while (fibers.front().line != kEnded);
}

}  // namespace

void set_order(Order order) { chosen = order; }

void barrier(int line) {
  Fiber& own = fibers[threadIdx.x];
  own.line = line;
  swapcontext(&own.context, &scheduler);
}

uint64_t* shared_memory() { return memory.data(); }

void run(unsigned blocks, unsigned threads, std::size_t shared_bytes, const std::function<void()>& body) {
  std::mt19937 random(blocks);
  kernel = &body;
  fibers.resize(threads);
  thrown = nullptr;
  gridDim.x = blocks;
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
    memory.assign(shared_bytes / sizeof(uint64_t), 0x5a5a5a5a5a5a5a5aU);  // what is there isn't known
    run_block(random);
  }
}

}  // namespace emulation
}  // namespace reid::ops::cuda
