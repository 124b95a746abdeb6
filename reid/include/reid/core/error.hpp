// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>

/// Every exception of the library derives from `reid::Error`. The message is one sentence,
/// `<where>: <what> must be <expectation>, got <actual>`, fit to be shown to a user as it is.
namespace reid {

/// Base of all errors. `exit_code()` is what the `reid` program returns: 2 where the user's input is
/// wrong, 1 where the work failed.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  virtual int exit_code() const noexcept { return 2; }
};

/// A wrong value on a command line, in an array file or in an argument that no other class names.
class InputError : public Error {
  using Error::Error;
};
/// A wrong configuration: unknown key, wrong type, value out of range.
class ConfigError : public Error {
  using Error::Error;
};
/// A name that no registry entry has, or one registered twice.
class RegistryError : public Error {
  using Error::Error;
};
/// A tensor of the wrong rank, size or type.
class ShapeError : public Error {
  using Error::Error;
};
/// A data set that is missing, incomplete or corrupt; names file and entry.
class DatasetError : public Error {
  using Error::Error;
};
/// A weight file or checkpoint that can't be read or doesn't fit the model.
class CheckpointError : public Error {
  using Error::Error;
};
/// A device that isn't there or can't do what was asked.
class DeviceError : public Error {
  using Error::Error;
};
/// The input was right and the work failed all the same: a diverged run, no match for any query,
/// a full disk.
class WorkError : public Error {
 public:
  using Error::Error;
  int exit_code() const noexcept override { return 1; }
};

namespace detail {
[[noreturn]] void assertion_failed(const char* condition, const char* file, int line);
}  // namespace detail

}  // namespace reid

/// Throws `type(message)` unless `condition` holds. `message` is evaluated only on failure.
#define REID_CHECK(condition, type, message) \
  do {                                       \
    if (!(condition)) throw type(message);   \
  } while (false)

/// For our own mistakes: an invariant that no input can break.
#define REID_ASSERT(condition)                                                               \
  do {                                                                                       \
    if (!(condition)) ::reid::detail::assertion_failed(#condition, __FILE__, __LINE__);      \
  } while (false)
