# SPDX-License-Identifier: Apache-2.0
# Steps that tests written as CMake scripts share. A step that fails prints its output and stops the test.
cmake_minimum_required(VERSION 3.24)

# run(OUT words...): runs a command that must succeed; its output goes to OUT.
macro(run out)
  _run(${ARGN})
  set(${out} "${_run_output}")
endmacro()

# run_to_fail(OUT words...): runs a command that must fail.
macro(run_to_fail out)
  _execute(${ARGN})
  if(_run_status EQUAL 0)
    message(FATAL_ERROR "must fail, got success: ${ARGN}\n${_run_output}")
  endif()
  set(${out} "${_run_output}")
endmacro()

macro(_run)
  _execute(${ARGN})
  if(NOT _run_status EQUAL 0)
    message(FATAL_ERROR "must succeed, got status ${_run_status}: ${ARGN}\n${_run_output}")
  endif()
endmacro()

macro(_execute)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE _run_status OUTPUT_VARIABLE _run_output ERROR_VARIABLE _run_output)
endmacro()

function(must_contain text pattern)
  if(NOT text MATCHES "${pattern}")
    message(FATAL_ERROR "output must match '${pattern}', got:\n${text}")
  endif()
endfunction()

function(must_not_contain text pattern)
  if(text MATCHES "${pattern}")
    message(FATAL_ERROR "output must not match '${pattern}', got:\n${text}")
  endif()
endfunction()

# For tests that configure another project with the compiler of this one.
set(toolchain -G "${GENERATOR}" "-DCMAKE_CXX_COMPILER=${CXX}" "-DCMAKE_MAKE_PROGRAM=${MAKE_PROGRAM}"
    "-DCMAKE_EXE_LINKER_FLAGS=${LINK_FLAGS}")

file(REMOVE_RECURSE "${WORK}")
file(MAKE_DIRECTORY "${WORK}")
