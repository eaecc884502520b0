// Every kind of operation on files and directories that the C library offers; prints what came of it.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void report(const char *what, int result) {
    printf("%s: %s\n", what, result < 0 ? strerror(errno) : "ok");
}

static void write_file(const char *path, const char *text) {
    FILE *file = fopen(path, "w");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0) {
        printf("cannot write %s: %s\n", path, strerror(errno));
        exit(1);
    }
}

static void show_file(const char *path) {
    char text[64] = "";
    FILE *file = fopen(path, "r");
    if (!file) {
        printf("%s: %s\n", path, strerror(errno));
        return;
    }
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    printf("%s: %zu bytes: %s\n", path, size, text);
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void show_directory(const char *path) {
    char *names[32];
    size_t count = 0;
    DIR *directory = opendir(path);
    if (!directory) {
        printf("%s: %s\n", path, strerror(errno));
        return;
    }
    for (struct dirent *entry; count < 32 && (entry = readdir(directory));) {
        char text[300];
        snprintf(text, sizeof text, "%s (%s)", entry->d_name,
                 entry->d_type == DT_DIR ? "directory" : entry->d_type == DT_LNK ? "link" : "file");
        names[count++] = strdup(text);
    }
    closedir(directory);
    qsort(names, count, sizeof names[0], by_name);
    for (size_t i = 0; i < count; i++) {
        printf("  %s\n", names[i]);
        free(names[i]);
    }
}

static void seek_and_resize(void) {
    char text[16] = "";
    int fd = open("data", O_RDWR | O_CREAT | O_TRUNC, 0644);
    report("open", fd);
    report("write", (int)write(fd, "0123456789", 10));
    printf("seek %lld %lld\n", (long long)lseek(fd, -4, SEEK_END), (long long)lseek(fd, 1, SEEK_CUR));
    printf("read %zd ", read(fd, text, 2));
    printf("%s\n", text);
    printf("pread %zd ", pread(fd, text, 3, 1));
    printf("%s\n", text);
    report("pwrite", (int)pwrite(fd, "xyz", 3, 12));
    report("truncate", ftruncate(fd, 20));
    struct stat info;
    report("stat", fstat(fd, &info));
    printf("size %lld regular %d\n", (long long)info.st_size, S_ISREG(info.st_mode));
    report("allocate too little", posix_fallocate(fd, 0, 0) ? (errno = EINVAL, -1) : 0);
    report("sync", fsync(fd));
    report("close", close(fd));
    report("close again", close(fd));
    int appending = open("data", O_WRONLY | O_APPEND);
    report("append", (int)write(appending, "end", 3));
    printf("position %lld\n", (long long)lseek(appending, 0, SEEK_CUR));
    close(appending);
}

static void links(void) {
    char target[64] = "";
    report("symlink", symlink("sub/deep", "shortcut"));
    ssize_t size = readlink("shortcut", target, sizeof target - 1);
    printf("readlink %zd %s\n", size, target);
    write_file("shortcut/through", "by a link");
    show_file("sub/deep/through");
    report("link", link("sub/deep/through", "hard"));
    struct stat info;
    report("stat", stat("hard", &info));
    printf("links %d\n", (int)info.st_nlink);
    report("lstat", lstat("shortcut", &info));
    printf("is a link %d\n", S_ISLNK(info.st_mode));
    report("loop", symlink("loop", "loop"));
    show_file("loop");
    report("dangling", symlink("nowhere", "dangling"));
    show_file("dangling");
}

static void failures(void) {
    report("missing", open("missing", O_RDONLY));
    report("exclusive", open("data", O_CREAT | O_EXCL | O_WRONLY, 0644));
    report("not a directory", open("data/x", O_RDONLY));
    report("directory wanted", open("data", O_RDONLY | O_DIRECTORY));
    report("remove a full directory", rmdir("sub"));
    report("remove a file as directory", rmdir("data"));
    report("make what is there", mkdir("sub", 0755));
    report("rename the missing", rename("missing", "other"));
    report("unlink the missing", unlink("missing"));
    report("rename below itself", rename("sub", "sub/deep/sub"));
}

int main(void) {
    seek_and_resize();
    report("mkdir", mkdir("sub", 0755));
    report("mkdir", mkdir("sub/deep", 0755));
    write_file("sub/note", "a note");
    links();
    show_directory(".");
    show_directory("sub");
    failures();
    report("rename", rename("sub/note", "sub/deep/moved"));
    show_file("sub/deep/moved");
    report("rename over", rename("sub/deep/moved", "hard"));
    show_file("hard");
    report("unlink", unlink("hard"));
    report("rmdir", mkdir("empty", 0755) < 0 ? -1 : rmdir("empty"));
    show_directory("sub/deep");
    return 0;
}
