/* A disk that fails as told, for tests: tests/chaos/disk_faults.py builds this and preloads it (LD_PRELOAD).
 *
 *   ECLUSE_DISK_FAULT   a file of one line: ERRNO WHAT TEXT
 *
 * While that file is there, every WHAT ("write": writes, new sizes, new files, names; "sync") on a path that holds
 * TEXT fails with that error, and does nothing. The file is read at each call, so that a fault begins and ends at
 * any instant. The system is called directly: nothing to look up.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

/* Returns the error with which an act on that path must fail, or 0. */
static int told(const char *what, const char *path) {
    const char *control = getenv("ECLUSE_DISK_FAULT");
    char line[PATH_MAX + 64], kind[16], text[PATH_MAX];
    int number, before = errno;
    if (control == NULL) return 0;
    int descriptor = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC, 0);
    if (descriptor < 0) {
        errno = before;
        return 0;
    }
    ssize_t size = syscall(SYS_read, descriptor, line, sizeof line - 1);
    syscall(SYS_close, descriptor);
    errno = before;
    if (size <= 0) return 0;
    line[size] = 0;
    if (sscanf(line, "%d %15s %4095s", &number, kind, text) != 3) return 0;
    return strcmp(kind, what) == 0 && strstr(path, text) != NULL ? number : 0;
}

static int told_of(const char *what, int descriptor) {
    char link[64], path[PATH_MAX];
    int before = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    errno = before;
    if (size <= 0) return 0;
    path[size] = 0;
    return told(what, path);
}

#define FAILS(error) do { int failed_ = (error); if (failed_) { errno = failed_; return -1; } } while (0)

EXPORT ssize_t write(int fd, const void *body, size_t size) {
    FAILS(told_of("write", fd));
    return syscall(SYS_write, fd, body, size);
}

EXPORT ssize_t pwrite(int fd, const void *body, size_t size, off_t at) {
    FAILS(told_of("write", fd));
    return syscall(SYS_pwrite64, fd, body, size, at);
}

EXPORT ssize_t pwrite64(int fd, const void *body, size_t size, off_t at) { return pwrite(fd, body, size, at); }

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count) {
    FAILS(told_of("write", fd));
    return syscall(SYS_writev, fd, parts, count);
}

EXPORT int ftruncate(int fd, off_t size) {
    FAILS(told_of("write", fd));
    return (int)syscall(SYS_ftruncate, fd, size);
}

EXPORT int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

EXPORT int fsync(int fd) {
    FAILS(told_of("sync", fd));
    return (int)syscall(SYS_fsync, fd);
}

EXPORT int fdatasync(int fd) {
    FAILS(told_of("sync", fd));
    return (int)syscall(SYS_fdatasync, fd);
}

EXPORT int rename(const char *path, const char *to) {
    FAILS(told("write", path));
    return (int)syscall(SYS_renameat2, AT_FDCWD, path, AT_FDCWD, to, 0);
}

EXPORT int unlink(const char *path) {
    FAILS(told("write", path));
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

static int opened(int folder, const char *path, int flags, mode_t mode) {
    if (flags & O_CREAT && syscall(SYS_faccessat, folder, path, F_OK) != 0) FAILS(told("write", path));
    return (int)syscall(SYS_openat, folder, path, flags, mode);
}

#define MODE(flags, last) mode_t mode = 0; if ((flags) & (O_CREAT | O_TMPFILE)) { \
    va_list more; va_start(more, last); mode = va_arg(more, mode_t); va_end(more); }

EXPORT int open(const char *path, int flags, ...) {
    MODE(flags, flags)
    return opened(AT_FDCWD, path, flags, mode);
}

EXPORT int open64(const char *path, int flags, ...) {
    MODE(flags, flags)
    return opened(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

EXPORT int openat(int folder, const char *path, int flags, ...) {
    MODE(flags, flags)
    return opened(folder, path, flags, mode);
}

EXPORT int openat64(int folder, const char *path, int flags, ...) {
    MODE(flags, flags)
    return opened(folder, path, flags | O_LARGEFILE, mode);
}
