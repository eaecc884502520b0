"""A RISC-V machine in QEMU, with an image made of Debian's packages, that runs wasm-host (`make riscv`)."""
