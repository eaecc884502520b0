// Standard input to standard output in capitals, a count to standard error.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
    char line[256];
    int lines = 0;
    while (fgets(line, sizeof line, stdin)) {
        for (char *c = line; *c; c++) {
            *c = (char)toupper((unsigned char)*c);
        }
        fputs(line, stdout);
        lines++;
    }
    fprintf(stderr, "%d lines\n", lines);
    exit(lines > 100 ? 100 : lines);
}
