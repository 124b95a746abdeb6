// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>
#include <string_view>

namespace reid {

enum class LogLevel { debug, info, warning, error };

/// Writes one line to stderr through spdlog's logger "reid". Programs choose the level with `set_log_level`.
void log(LogLevel level, std::string_view message);
inline void log_info(std::string_view message) { log(LogLevel::info, message); }
inline void log_warning(std::string_view message) { log(LogLevel::warning, message); }
void set_log_level(LogLevel level);

}  // namespace reid
