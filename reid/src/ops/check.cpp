// SPDX-License-Identifier: Apache-2.0
#include "reid/ops/check.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "reid/core/error.hpp"

namespace reid::ops {
namespace {

std::string type_name(torch::ScalarType type) {
  switch (type) {
    case torch::kFloat32:
      return "float32";
    case torch::kFloat64:
      return "float64";
    case torch::kFloat16:
      return "float16";
    case torch::kBFloat16:
      return "bfloat16";
    case torch::kInt64:
      return "int64";
    case torch::kInt32:
      return "int32";
    case torch::kInt16:
      return "int16";
    case torch::kInt8:
      return "int8";
    case torch::kUInt8:
      return "uint8";
    case torch::kBool:
      return "bool";
    default:
      return c10::toString(type);
  }
}

}  // namespace

std::string describe(const torch::Tensor& tensor) {
  if (!tensor.defined()) return "none";
  return fmt::format("[{}] {} on {}", fmt::join(tensor.sizes().vec(), ", "), type_name(tensor.scalar_type()),
                     tensor.device().str());
}

void check_rank(const torch::Tensor& tensor, const std::string& where, const std::string& name, int64_t rank,
                const std::string& expectation, bool floating) {
  if (tensor.defined() && tensor.dim() == rank && (!floating || tensor.is_floating_point())) return;
  throw ShapeError(fmt::format("{}: {} must be {}, got {}", where, name, expectation, describe(tensor)));
}

}  // namespace reid::ops
