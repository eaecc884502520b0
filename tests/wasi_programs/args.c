// Arguments, environment and exit status.
#include <stdio.h>
#include <stdlib.h>

extern char **environ;

int main(int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        printf("argv[%d]=%s\n", i, argv[i]);
    }
    for (char **entry = environ; *entry; entry++) {
        printf("env %s\n", *entry);
    }
    const char *status = getenv("STATUS");
    return status ? atoi(status) : 0;
}
