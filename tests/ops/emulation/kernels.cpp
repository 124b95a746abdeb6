// SPDX-License-Identifier: Apache-2.0
// The kernels themselves, compiled for the CPU.
#include "../../../reid/src/ops/cuda/mining.cu"
#include "../../../reid/src/ops/cuda/rank.cu"
#include "../../../reid/src/ops/cuda/reciprocal.cu"
#include "../../../reid/src/ops/cuda/sparse.cu"
#include "../../../reid/src/ops/cuda/topk.cu"
