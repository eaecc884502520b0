/* The frozen modules, as freeze.py writes them. */
.section .rodata
.globl linked_blob
linked_blob:
.incbin "frozen.bin"
.section .note.GNU-stack,"",%progbits
