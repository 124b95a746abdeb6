// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <filesystem>
#include <string>

#include "reid/engine/experiment.hpp"

namespace reid::engine {

/// Scores what a stage that fuses samples with their support (LCR2S's teacher) would see at test time if it knew the
/// identities: every sentence and every picture of the evaluation is fused with others *of its own identity*. It tells how
/// much a student could learn; it is an oracle and no result, which its JSON says ("oracle", and a note).
///
/// A picture's support are other pictures of its identity, a sentence's the sentences of such pictures; identities with one
/// picture support themselves. As many as the stage trained with, drawn from `seed`.
/// @param run    of several stages; the stage's weights lie in it.
/// @param stage  by name; a later one than the first has its own teacher, whose objective can't be made alone.
/// @throws InputError if the run has no such stage on disk; ConfigError for a stage without support or fusion, or a
///   protocol without sentences.
metrics::Result evaluate_oracle(const std::filesystem::path& run, const std::string& stage, const data::DataSet& dataset,
                                const EvaluationOptions& options, const Catalogue& catalogue, const Runtime& runtime,
                                uint64_t seed, const ProgressSink& progress = {});

}  // namespace reid::engine
