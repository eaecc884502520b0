// Tries to leave the directory it was given; prints how each attempt ends.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void attempt(const char *path) {
    int fd = open(path, O_RDONLY);
    printf("%s: %s\n", path, fd < 0 ? strerror(errno) : "opened");
    if (fd >= 0) {
        close(fd);
    }
}

int main(void) {
    attempt("../secret");
    attempt("inside/../../secret");
    attempt("inside/../inside/.././../secret");
    attempt("/etc/passwd");
    if (symlink("../secret", "out") == 0) {
        attempt("out");
    }
    if (symlink("..", "inside/up") == 0) {
        attempt("inside/up/../secret");
        attempt("inside/up/inside/up/inside");
    }
    printf("make: %s\n", mkdir("../made", 0755) < 0 ? strerror(errno) : "made");
    printf("rename: %s\n", rename("inside", "../moved") < 0 ? strerror(errno) : "moved");
    return 0;
}
