/* Stands between the program and the file system: counts what changes files below one folder, writes it down, and at the
 * n-th such operation kills the process or lets the operation fail. For tests: loaded with LD_PRELOAD, so the program under
 * test is the one that people run, without a line for testing in it.
 *
 *   CAS_FAULT_ROOT    operations on paths below this folder are looked at
 *   CAS_FAULT_AT      number of the operation that is disturbed, from 1; 0 or nothing: none
 *   CAS_FAULT_DO      kill-before, kill-half, kill-after, eio, enospc, dead (this and all later ones fail with EIO),
 *                     full (the same with ENOSPC, and writes that fit in part are short), short, eintr,
 *                     interrupt (SIGINT to itself before it, with time to notice), stop (SIGSTOP before it)
 *   CAS_FAULT_READS   1: counts reads in place of changes
 *   CAS_FAULT_REPORT  file that gets a line when the operation came, and at exit the number of operations
 *   CAS_FAULT_TRACE   file that gets every operation with its bytes, appended
 *
 * Syncs are counted and written down, and not done: no test here cuts real power, and real syncs cost a hundred times more.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum act { NONE, KILL_BEFORE, KILL_HALF, KILL_AFTER, EIO_ONCE, ENOSPC_ONCE, DEAD, FULL, SHORT, EINTR_ONCE,
           INTERRUPT, STOP };

static const char *names[] = {"",       "kill-before", "kill-half", "kill-after", "eio",
                              "enospc", "dead",        "full",      "short",      "eintr",
                              "interrupt", "stop"};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_len;
static enum act act;
static long at, seen;
static int counts_reads, trace = -1, report = -1;

__attribute__((constructor)) static void start(void) {
    const char *value = getenv("CAS_FAULT_ROOT");
    if (!value)
        return;
    snprintf(root, sizeof root, "%s", value);
    root_len = strlen(root);
    counts_reads = getenv("CAS_FAULT_READS") != NULL;
    if ((value = getenv("CAS_FAULT_AT")))
        at = atol(value);
    if ((value = getenv("CAS_FAULT_DO")))
        for (int n = 0; n < (int)(sizeof names / sizeof *names); n++)
            if (!strcmp(names[n], value))
                act = n;
    if ((value = getenv("CAS_FAULT_REPORT")))
        report = syscall(SYS_openat, AT_FDCWD, value, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if ((value = getenv("CAS_FAULT_TRACE")))
        trace = syscall(SYS_openat, AT_FDCWD, value, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

__attribute__((destructor)) static void end(void) {
    char line[64];
    if (report >= 0)
        syscall(SYS_write, report, line, snprintf(line, sizeof line, "operations %ld\n", seen));
}

static int is_below(const char *path) {
    return root_len && path && !strncmp(path, root, root_len) && (path[root_len] == '/' || !path[root_len]);
}

/* The path of an open file below the root, looked up each time: it may have been renamed, or opened past this shim. */
static const char *path_of(int fd, char *path) {
    char link[32];
    if (!root_len)
        return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long len = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (len <= 0)
        return NULL;
    path[len] = 0;
    return is_below(path) ? path : NULL;
}

static void die(void) {
    syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
    for (;;)
        syscall(SYS_pause);
}

/* One operation, in the trace: kind, path, other path or bytes, offset. */
static void note(char kind, const char *path, uint64_t offset, const void *bytes, size_t len) {
    if (trace < 0)
        return;
    uint32_t path_len = strlen(path) - root_len;
    uint64_t byte_len = len;
    struct iovec parts[] = {{&kind, 1},    {&path_len, 4}, {(void *)(path + root_len), path_len},
                            {&offset, 8}, {&byte_len, 8}, {(void *)bytes, len}};
    if (syscall(SYS_writev, trace, parts, 6) != (long)(1 + 4 + path_len + 8 + 8 + len))
        abort();
}

/* Counts one operation; answers what is to be done to it. The lock is held until done(). */
static enum act begin(const char *what, const char *path, int is_read) {
    pthread_mutex_lock(&lock);
    if (is_read != counts_reads)
        return NONE;
    seen++;
    int now = act && (seen == at || ((act == DEAD || act == FULL) && at && seen > at));
    if (!now)
        return NONE;
    char line[PATH_MAX + 64];
    if (report >= 0 && seen == at)
        syscall(SYS_write, report, line,
                snprintf(line, sizeof line, "%s at operation %ld: %s %s\n", names[act], seen, what, path + root_len));
    if (act == KILL_BEFORE)
        die();
    if (act == INTERRUPT || act == STOP)
        syscall(SYS_kill, syscall(SYS_getpid), act == STOP ? SIGSTOP : SIGINT);
    if (act == INTERRUPT)
        usleep(100 * 1000);
    return act;
}

static void done(enum act now) {
    if (now == KILL_AFTER || now == KILL_HALF)
        die();
    int kept = errno;
    pthread_mutex_unlock(&lock);
    errno = kept;
}

static int fails(enum act now) {
    switch (now) {
    case EIO_ONCE:
    case DEAD:
        errno = EIO;
        return 1;
    case ENOSPC_ONCE:
    case FULL:
        errno = ENOSPC;
        return 1;
    default:
        return 0;
    }
}

/* ---- opening */

static int opened(int dir, const char *path, int flags, mode_t mode) {
    int mine = is_below(path), changes = 0, existed = 0;
    enum act now = NONE;
    if (mine && (flags & (O_CREAT | O_TRUNC))) {
        struct stat st;
        existed = !syscall(SYS_newfstatat, AT_FDCWD, path, &st, 0);
        changes = existed ? (flags & O_TRUNC) && st.st_size : (flags & O_CREAT) != 0;
    }
    if (changes) {
        now = begin("create", path, 0);
        if (now == KILL_HALF || fails(now)) {
            done(now);
            return -1;
        }
    }
    int fd = syscall(SYS_openat, dir, path, flags, mode);
    if (changes) {
        if (fd >= 0)
            note(existed ? 'T' : 'C', path, 0, NULL, 0);
        done(now);
    }
    return fd;
}

#define OPEN(NAME)                                                                                                             \
    int NAME(const char *path, int flags, ...) {                                                                              \
        va_list rest;                                                                                                          \
        va_start(rest, flags);                                                                                                 \
        mode_t mode = va_arg(rest, int);                                                                                       \
        va_end(rest);                                                                                                          \
        return opened(AT_FDCWD, path, flags, mode);                                                                            \
    }
#define OPENAT(NAME)                                                                                                           \
    int NAME(int dir, const char *path, int flags, ...) {                                                                     \
        va_list rest;                                                                                                          \
        va_start(rest, flags);                                                                                                 \
        mode_t mode = va_arg(rest, int);                                                                                       \
        va_end(rest);                                                                                                          \
        return opened(dir, path, flags, mode);                                                                                 \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* ---- writing */

static ssize_t written(int fd, const void *bytes, size_t len, off_t offset, int has_offset) {
    char found[PATH_MAX];
    const char *path = path_of(fd, found);
    if (!path || !len)
        return has_offset ? syscall(SYS_pwrite64, fd, bytes, len, offset) : syscall(SYS_write, fd, bytes, len);
    enum act now = begin("write", path, 0);
    int first_of_full = now == FULL && seen == at && len > 1;
    if (now == EINTR_ONCE) {
        errno = EINTR;
        done(now);
        return -1;
    }
    if (!first_of_full && fails(now)) {
        done(now);
        return -1;
    }
    if ((now == SHORT || now == KILL_HALF || first_of_full) && len > 1)
        len /= 2;
    ssize_t n = has_offset ? syscall(SYS_pwrite64, fd, bytes, len, offset) : syscall(SYS_write, fd, bytes, len);
    if (n > 0)
        note('W', path, has_offset ? offset : syscall(SYS_lseek, fd, 0, SEEK_CUR) - n, bytes, n);
    done(now);
    return n;
}

ssize_t write(int fd, const void *bytes, size_t len) { return written(fd, bytes, len, 0, 0); }
ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset) { return written(fd, bytes, len, offset, 1); }
ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t offset) { return written(fd, bytes, len, offset, 1); }

/* Many parts as one, as the system writes them: a group of the node is one operation, cut anywhere. */
static ssize_t gathered(int fd, const struct iovec *parts, int count, off_t offset, int has_offset) {
    size_t len = 0, filled = 0;
    for (int n = 0; n < count; n++)
        len += parts[n].iov_len;
    char *all = malloc(len ? len : 1);
    if (!all)
        abort();
    for (int n = 0; n < count; filled += parts[n++].iov_len)
        memcpy(all + filled, parts[n].iov_base, parts[n].iov_len);
    ssize_t wrote = written(fd, all, len, offset, has_offset);
    int kept = errno;
    free(all);
    errno = kept;
    return wrote;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    char found[PATH_MAX];
    return path_of(fd, found) ? gathered(fd, parts, count, 0, 0) : syscall(SYS_writev, fd, parts, count);
}

static ssize_t vector_at(int fd, const struct iovec *parts, int count, off_t offset) {
    char found[PATH_MAX];
    return path_of(fd, found) ? gathered(fd, parts, count, offset, 1) : syscall(SYS_pwritev, fd, parts, count, offset, 0);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { return vector_at(fd, parts, count, offset); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset) { return vector_at(fd, parts, count, offset); }

/* ---- reading */

static ssize_t got(int fd, void *bytes, size_t len, off_t offset, int has_offset) {
    char found[PATH_MAX];
    const char *path = path_of(fd, found);
    enum act now = NONE;
    if (path && counts_reads) {
        now = begin("read", path, 1);
        if (now == EINTR_ONCE)
            errno = EINTR;
        if (now == EINTR_ONCE || fails(now)) {
            done(now);
            return -1;
        }
        if (now == SHORT && len > 1)
            len /= 2;
    }
    ssize_t n = has_offset ? syscall(SYS_pread64, fd, bytes, len, offset) : syscall(SYS_read, fd, bytes, len);
    if (path && counts_reads)
        done(now);
    return n;
}

ssize_t read(int fd, void *bytes, size_t len) { return got(fd, bytes, len, 0, 0); }
ssize_t pread(int fd, void *bytes, size_t len, off_t offset) { return got(fd, bytes, len, offset, 1); }
ssize_t pread64(int fd, void *bytes, size_t len, off_t offset) { return got(fd, bytes, len, offset, 1); }

/* ---- syncing, cutting, naming */

static int synced(int fd, long call) {
    char found[PATH_MAX];
    const char *path = path_of(fd, found);
    if (!path)
        return syscall(call, fd);
    enum act now = begin("sync", path, 0);
    int failed = now == KILL_HALF || fails(now);
    if (!failed)
        note('F', path, 0, NULL, 0);
    done(now);
    return failed ? -1 : 0;
}

int fsync(int fd) { return synced(fd, SYS_fsync); }
int fdatasync(int fd) { return synced(fd, SYS_fdatasync); }

static int cut(int fd, off_t len) {
    char found[PATH_MAX];
    const char *path = path_of(fd, found);
    if (!path)
        return syscall(SYS_ftruncate, fd, len);
    enum act now = begin("cut", path, 0);
    int failed = now == KILL_HALF || fails(now) ? -1 : syscall(SYS_ftruncate, fd, len);
    if (!failed)
        note('L', path, len, NULL, 0);
    done(now);
    return failed;
}

/* Taking room (a file of zeros) and giving it back (zeros in a file). Other modes are not used. */
static int allocated(int fd, int mode, off_t from, off_t len) {
    char found[PATH_MAX];
    const char *path = path_of(fd, found);
    if (!path)
        return syscall(SYS_fallocate, fd, mode, from, len);
    enum act now = begin(mode ? "give back" : "allocate", path, 0);
    int failed = now == KILL_HALF || fails(now) ? -1 : syscall(SYS_fallocate, fd, mode, from, len);
    if (!failed && mode) {
        void *zeros = calloc(1, len);
        if (!zeros)
            abort();
        note('W', path, from, zeros, len);
        free(zeros);
    } else if (!failed) {
        note('L', path, from + len, NULL, 0);
    }
    done(now);
    return failed;
}

int fallocate(int fd, int mode, off_t from, off_t len) { return allocated(fd, mode, from, len); }
int fallocate64(int fd, int mode, off_t from, off_t len) { return allocated(fd, mode, from, len); }

int ftruncate(int fd, off_t len) { return cut(fd, len); }
int ftruncate64(int fd, off_t len) { return cut(fd, len); }

int rename(const char *from, const char *to) {
    if (!is_below(from) || !is_below(to))
        return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    enum act now = begin("rename", to, 0);
    int failed = now == KILL_HALF || fails(now) ? -1 : syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
    if (!failed)
        note('R', from, 0, to + root_len, strlen(to) - root_len);
    done(now);
    return failed;
}

static int removed(const char *path, int flags) {
    if (!is_below(path))
        return syscall(SYS_unlinkat, AT_FDCWD, path, flags);
    enum act now = begin("remove", path, 0);
    int failed = now == KILL_HALF || fails(now) ? -1 : syscall(SYS_unlinkat, AT_FDCWD, path, flags);
    if (!failed)
        note('U', path, 0, NULL, 0);
    done(now);
    return failed;
}

int unlink(const char *path) { return removed(path, 0); }
int rmdir(const char *path) { return removed(path, AT_REMOVEDIR); }

int mkdir(const char *path, mode_t mode) {
    if (!is_below(path))
        return syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    struct stat st;
    if (!syscall(SYS_newfstatat, AT_FDCWD, path, &st, 0))
        return syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    enum act now = begin("mkdir", path, 0);
    int failed = now == KILL_HALF || fails(now) ? -1 : syscall(SYS_mkdirat, AT_FDCWD, path, mode);
    if (!failed)
        note('D', path, 0, NULL, 0);
    done(now);
    return failed;
}
