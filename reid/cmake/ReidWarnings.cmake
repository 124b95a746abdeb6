# SPDX-License-Identifier: Apache-2.0
# reid_set_warnings(target): our own warning flags, private to the target.
function(reid_set_warnings target)
  set(flags -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wno-missing-field-initializers)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    list(APPEND flags -Wno-restrict)  # false positives on std::string, GCC bug 105651
  endif()
  if(REID_WERROR)
    list(APPEND flags -Werror)
  endif()
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${flags}>)
  if(REID_SANITIZE)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${REID_SANITIZE}
                                             -fno-omit-frame-pointer>)
    string(REPLACE "fuzzer-no-link," "" link_sanitizers "${REID_SANITIZE}")
    target_link_options(${target} PUBLIC $<BUILD_INTERFACE:-fsanitize=${link_sanitizers}>)
  endif()
endfunction()
