/* Writes down what a process does to the files under one folder, for tests of power cuts: tests/chaos/recorder.py
 * builds this, preloads it (LD_PRELOAD) and reads what it writes.
 *
 *   ECLUSE_RECORD_FOLDER   the folder, an absolute path without links
 *   ECLUSE_RECORD_LOG      the log, outside that folder; it is appended to
 *
 * An act and its record are one under a lock, so the log has the acts' own order, and a kill between the two leaves
 * out one act at the most. A sync's record holds how long the log was when the sync began: what was written later is
 * not covered. What cannot be recorded is refused where callers know another way (fallocate, sendfile), and else is
 * written down as unknown, so that nobody trusts the log.
 *
 * The system is called directly: nothing to look up, and no library's own call is missed before `main`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define MOST_DESCRIPTORS 65536
#define LOG_DESCRIPTOR 900 /* out of everybody's way */
#define EXPORT __attribute__((visibility("default")))

enum { NOT_OURS, FILE_OR_FOLDER, SHARED_MEMORY };

/* tests/chaos/recorder.py knows this layout. */
struct record {
    uint32_t kind; /* a letter */
    int32_t descriptor;
    uint64_t number;
    uint64_t bytes; /* of what follows */
} __attribute__((packed));

static char folder[PATH_MAX];
static size_t folder_bytes;
static int log_descriptor = -1;
static uint64_t log_bytes;
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static unsigned char watched[MOST_DESCRIPTORS];

static void give_up(const char *why) {
    fprintf(stderr, "recorder: %s: %s\n", why, strerror(errno));
    _exit(97);
}

/* The caller holds the lock. */
static void note(char kind, int descriptor, uint64_t number, const void *body, size_t bytes) {
    struct record head = {(uint32_t)kind, descriptor, number, bytes};
    struct iovec parts[2] = {{&head, sizeof head}, {(void *)body, bytes}};
    int before = errno;
    ssize_t whole = (ssize_t)(sizeof head + bytes);
    if (syscall(SYS_writev, log_descriptor, parts, 2) != whole) give_up("the log cannot be written");
    log_bytes += (uint64_t)whole;
    errno = before;
}

static void note_text(char kind, int descriptor, uint64_t number, const char *text) {
    note(kind, descriptor, number, text, strlen(text));
}

static void begin(void) { pthread_mutex_lock(&order); }
static void end(void) { pthread_mutex_unlock(&order); }

static void unknown(const char *what) {
    begin();
    note_text('X', -1, 0, what);
    end();
}

__attribute__((constructor)) static void start(void) {
    const char *where = getenv("ECLUSE_RECORD_FOLDER"), *to = getenv("ECLUSE_RECORD_LOG");
    unsetenv("LD_PRELOAD"); /* of this process alone: a child's descriptors would be taken for ours */
    if (where == NULL || to == NULL) return;
    int opened = (int)syscall(SYS_openat, AT_FDCWD, to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (opened < 0) give_up("the log cannot be opened");
    log_descriptor = (int)syscall(SYS_fcntl, opened, F_DUPFD_CLOEXEC, LOG_DESCRIPTOR);
    syscall(SYS_close, opened);
    struct stat there;
    if (log_descriptor < 0 || fstat(log_descriptor, &there) != 0) give_up("the log cannot be opened");
    log_bytes = (uint64_t)there.st_size;
    snprintf(folder, sizeof folder, "%s", where);
    folder_bytes = strlen(folder);
    begin();
    note('B', (int)getpid(), 0, NULL, 0);
    end();
}

/* Make `into` the whole path; return whether it lies in the folder, or is it. */
static int inside(int at, const char *path, char into[PATH_MAX]) {
    if (log_descriptor < 0 || path == NULL) return 0;
    if (path[0] == '/') {
        if (snprintf(into, PATH_MAX, "%s", path) >= PATH_MAX) return 0;
    } else {
        char from[PATH_MAX], link[64];
        ssize_t known;
        if (at == AT_FDCWD) {
            snprintf(link, sizeof link, "/proc/self/cwd");
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        }
        known = readlink(link, from, sizeof from - 1);
        if (known < 0) return 0;
        from[known] = 0;
        if ((size_t)known + strlen(path) + 2 > PATH_MAX) return 0;
        strcpy(into, from);
        strcat(into, "/");
        strcat(into, path);
    }
    return strncmp(into, folder, folder_bytes) == 0 && (into[folder_bytes] == '/' || into[folder_bytes] == 0);
}

static int kept(int descriptor) {
    return descriptor >= 0 && descriptor < MOST_DESCRIPTORS && watched[descriptor] == FILE_OR_FOLDER;
}

/* --- opening and closing --- */

static int opened(int at, const char *path, int flags, mode_t mode) {
    char whole[PATH_MAX];
    if (!inside(at, path, whole)) return (int)syscall(SYS_openat, at, path, flags, mode);
    begin();
    int descriptor = (int)syscall(SYS_openat, at, path, flags, mode);
    if (descriptor >= MOST_DESCRIPTORS) give_up("too many files are open");
    if (descriptor >= 0) {
        size_t length = strlen(whole);
        int memory = length > 4 && strcmp(whole + length - 4, "-shm") == 0;
        watched[descriptor] = memory ? SHARED_MEMORY : FILE_OR_FOLDER;
        if ((flags & (O_SYNC | O_DSYNC)) != 0) note_text('X', descriptor, 0, "open with O_SYNC");
        note_text('O', descriptor, (uint64_t)flags, whole);
    }
    end();
    return descriptor;
}

static mode_t mode_of(int flags, va_list more) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? (mode_t)va_arg(more, int) : 0;
}

#define OPENING(name)                                       \
    EXPORT int name(const char *path, int flags, ...) {     \
        va_list more;                                       \
        va_start(more, flags);                              \
        mode_t mode = mode_of(flags, more);                 \
        va_end(more);                                       \
        return opened(AT_FDCWD, path, flags, mode);         \
    }
#define OPENING_AT(name)                                            \
    EXPORT int name(int at, const char *path, int flags, ...) {     \
        va_list more;                                               \
        va_start(more, flags);                                      \
        mode_t mode = mode_of(flags, more);                         \
        va_end(more);                                               \
        return opened(at, path, flags, mode);                       \
    }

OPENING(open)
OPENING(open64)
OPENING_AT(openat)
OPENING_AT(openat64)

EXPORT int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
EXPORT int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
EXPORT int __openat_2(int at, const char *path, int flags) { return opened(at, path, flags, 0); }
EXPORT int __openat64_2(int at, const char *path, int flags) { return opened(at, path, flags, 0); }
EXPORT int creat(const char *path, mode_t mode) {
    return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

EXPORT int close(int descriptor) {
    if (descriptor < 0 || descriptor >= MOST_DESCRIPTORS || watched[descriptor] == NOT_OURS)
        return (int)syscall(SYS_close, descriptor);
    begin();
    watched[descriptor] = NOT_OURS;
    note('C', descriptor, 0, NULL, 0);
    int result = (int)syscall(SYS_close, descriptor);
    end();
    return result;
}

/* --- content --- */

EXPORT ssize_t write(int descriptor, const void *from, size_t bytes) {
    if (!kept(descriptor)) return syscall(SYS_write, descriptor, from, bytes);
    begin();
    ssize_t written = syscall(SYS_write, descriptor, from, bytes);
    if (written > 0) {
        off_t after = lseek(descriptor, 0, SEEK_CUR); /* right for O_APPEND, too */
        note('W', descriptor, (uint64_t)(after - written), from, (size_t)written);
    }
    end();
    return written;
}

static ssize_t written_at(int descriptor, const void *from, size_t bytes, off_t at) {
    if (!kept(descriptor)) return syscall(SYS_pwrite64, descriptor, from, bytes, at);
    begin();
    ssize_t written = syscall(SYS_pwrite64, descriptor, from, bytes, at);
    if (written > 0) note('W', descriptor, (uint64_t)at, from, (size_t)written);
    end();
    return written;
}

EXPORT ssize_t pwrite(int descriptor, const void *from, size_t bytes, off_t at) {
    return written_at(descriptor, from, bytes, at);
}
EXPORT ssize_t pwrite64(int descriptor, const void *from, size_t bytes, off64_t at) {
    return written_at(descriptor, from, bytes, at);
}

EXPORT ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    if (!kept(descriptor)) return syscall(SYS_writev, descriptor, parts, count);
    ssize_t total = 0;
    for (int i = 0; i < count; i++) { /* a short count is allowed: the caller goes on from there */
        ssize_t written = write(descriptor, parts[i].iov_base, parts[i].iov_len);
        if (written < 0) return total > 0 ? total : written;
        total += written;
        if ((size_t)written < parts[i].iov_len) break;
    }
    return total;
}

static int cut(int descriptor, off_t bytes) {
    if (!kept(descriptor)) return (int)syscall(SYS_ftruncate, descriptor, bytes);
    begin();
    int result = (int)syscall(SYS_ftruncate, descriptor, bytes);
    if (result == 0) note('T', descriptor, (uint64_t)bytes, NULL, 0);
    end();
    return result;
}

EXPORT int ftruncate(int descriptor, off_t bytes) { return cut(descriptor, bytes); }
EXPORT int ftruncate64(int descriptor, off64_t bytes) { return cut(descriptor, bytes); }

static int cut_path(const char *path, off_t bytes) {
    char whole[PATH_MAX];
    if (!inside(AT_FDCWD, path, whole)) return (int)syscall(SYS_truncate, path, bytes);
    int descriptor = opened(AT_FDCWD, path, O_WRONLY | O_CLOEXEC, 0);
    if (descriptor < 0) return -1;
    int result = cut(descriptor, bytes);
    int failure = errno;
    close(descriptor);
    errno = failure;
    return result;
}

EXPORT int truncate(const char *path, off_t bytes) { return cut_path(path, bytes); }
EXPORT int truncate64(const char *path, off64_t bytes) { return cut_path(path, bytes); }

static int synced(int descriptor, long call) {
    if (!kept(descriptor)) return (int)syscall(call, descriptor);
    begin();
    uint64_t covers = log_bytes;
    end();
    int result = (int)syscall(call, descriptor); /* outside the lock: others write meanwhile */
    if (result == 0) {
        begin();
        note('S', descriptor, covers, NULL, 0);
        end();
    }
    return result;
}

EXPORT int fsync(int descriptor) { return synced(descriptor, SYS_fsync); }
EXPORT int fdatasync(int descriptor) { return synced(descriptor, SYS_fdatasync); }

/* --- names --- */

static int renamed(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    char both[2 * PATH_MAX], target[PATH_MAX];
    int first = inside(from_at, from, both), second = inside(to_at, to, target);
    if (!first && !second) return (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    begin();
    int result = (int)syscall(SYS_renameat2, from_at, from, to_at, to, flags);
    if (result == 0 && (!first || !second || flags != 0)) {
        note_text('X', -1, 0, "rename into or out of the folder, or with flags");
    } else if (result == 0) {
        size_t length = strlen(both) + 1;
        strcpy(both + length, target);
        note('R', -1, length - 1, both, length + strlen(target));
    }
    end();
    return result;
}

EXPORT int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
EXPORT int renameat(int from_at, const char *from, int to_at, const char *to) {
    return renamed(from_at, from, to_at, to, 0);
}
EXPORT int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    return renamed(from_at, from, to_at, to, flags);
}

static int unlinked(int at, const char *path, int flags) {
    char whole[PATH_MAX];
    if (!inside(at, path, whole)) return (int)syscall(SYS_unlinkat, at, path, flags);
    begin();
    int result = (int)syscall(SYS_unlinkat, at, path, flags);
    if (result == 0) note_text('U', -1, 0, whole);
    end();
    return result;
}

EXPORT int unlink(const char *path) { return unlinked(AT_FDCWD, path, 0); }
EXPORT int unlinkat(int at, const char *path, int flags) { return unlinked(at, path, flags); }
EXPORT int rmdir(const char *path) { return unlinked(AT_FDCWD, path, AT_REMOVEDIR); }
EXPORT int remove(const char *path) {
    int result = unlinked(AT_FDCWD, path, 0);
    return result != 0 && errno == EISDIR ? unlinked(AT_FDCWD, path, AT_REMOVEDIR) : result;
}

static int made(int at, const char *path, mode_t mode) {
    char whole[PATH_MAX];
    if (!inside(at, path, whole)) return (int)syscall(SYS_mkdirat, at, path, mode);
    begin();
    int result = (int)syscall(SYS_mkdirat, at, path, mode);
    if (result == 0) note_text('M', -1, 0, whole);
    end();
    return result;
}

EXPORT int mkdir(const char *path, mode_t mode) { return made(AT_FDCWD, path, mode); }
EXPORT int mkdirat(int at, const char *path, mode_t mode) { return made(at, path, mode); }

static int linked(int from_at, const char *from, int to_at, const char *to, int flags) {
    char whole[PATH_MAX];
    if (inside(to_at, to, whole)) unknown("link");
    return (int)syscall(SYS_linkat, from_at, from, to_at, to, flags);
}

EXPORT int link(const char *from, const char *to) { return linked(AT_FDCWD, from, AT_FDCWD, to, 0); }
EXPORT int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    return linked(from_at, from, to_at, to, flags);
}
EXPORT int symlink(const char *target, const char *path) {
    char whole[PATH_MAX];
    if (inside(AT_FDCWD, path, whole)) unknown("symlink");
    return (int)syscall(SYS_symlinkat, target, AT_FDCWD, path);
}

/* --- other ways to write, refused or told --- */

EXPORT int fallocate(int descriptor, int mode, off_t at, off_t bytes) {
    if (!kept(descriptor)) return (int)syscall(SYS_fallocate, descriptor, mode, at, bytes);
    errno = EOPNOTSUPP;
    return -1;
}
EXPORT int fallocate64(int descriptor, int mode, off64_t at, off64_t bytes) {
    return fallocate(descriptor, mode, at, bytes);
}

static int reserved(int descriptor, off_t at, off_t bytes) {
    if (kept(descriptor)) return EOPNOTSUPP;
    return syscall(SYS_fallocate, descriptor, 0, at, bytes) == 0 ? 0 : errno;
}
EXPORT int posix_fallocate(int descriptor, off_t at, off_t bytes) { return reserved(descriptor, at, bytes); }
EXPORT int posix_fallocate64(int descriptor, off64_t at, off64_t bytes) {
    return reserved(descriptor, at, bytes);
}

static ssize_t sent(int to, int from, off_t *at, size_t bytes) {
    if (!kept(to)) return syscall(SYS_sendfile, to, from, at, bytes);
    errno = EINVAL;
    return -1;
}
EXPORT ssize_t sendfile(int to, int from, off_t *at, size_t bytes) { return sent(to, from, at, bytes); }
EXPORT ssize_t sendfile64(int to, int from, off64_t *at, size_t bytes) { return sent(to, from, at, bytes); }

EXPORT ssize_t copy_file_range(int from, off64_t *from_at, int to, off64_t *to_at, size_t bytes, unsigned flags) {
    if (!kept(to)) return syscall(SYS_copy_file_range, from, from_at, to, to_at, bytes, flags);
    errno = EINVAL;
    return -1;
}

static ssize_t gathered(int descriptor, const struct iovec *parts, int count, off_t at) {
    if (kept(descriptor)) unknown("pwritev");
    return syscall(SYS_pwritev, descriptor, parts, count, at, 0);
}
EXPORT ssize_t pwritev(int descriptor, const struct iovec *parts, int count, off_t at) {
    return gathered(descriptor, parts, count, at);
}
EXPORT ssize_t pwritev64(int descriptor, const struct iovec *parts, int count, off64_t at) {
    return gathered(descriptor, parts, count, at);
}

static void *mapped(void *near, size_t bytes, int how, int flags, int descriptor, off_t at) {
    if (kept(descriptor) && (flags & MAP_SHARED) && (how & PROT_WRITE)) unknown("mmap to write");
    return (void *)syscall(SYS_mmap, near, bytes, how, flags, descriptor, at);
}
EXPORT void *mmap(void *near, size_t bytes, int how, int flags, int descriptor, off_t at) {
    return mapped(near, bytes, how, flags, descriptor, at);
}
EXPORT void *mmap64(void *near, size_t bytes, int how, int flags, int descriptor, off64_t at) {
    return mapped(near, bytes, how, flags, descriptor, at);
}
