/* Preloaded into a process by tests/drills.rs: system calls that fail on purpose.
 *
 *   DRILL_EIO=CALL:K  the K-th CALL (from 1) on a regular file of the disk at DRILL_DISK and all later ones fail with EIO
 *   DRILL_COUNT=F     at the end, writes how many of each there were to file F
 *   DRILL_CLOCK=1     every look at a clock is off by up to an hour, forwards and backwards
 *
 * A CALL is write, sync or rename. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum call { WRITE, SYNC, RENAME, CALLS };
static const char *const names[CALLS] = {"write", "sync", "rename"};
#include "calls.h"

/* Counts a call on a file, and says whether it fails. */
static int fails(enum call call, const struct stat *file) {
    const char *disk = getenv("DRILL_DISK");
    struct stat root;
    if (!disk || stat(disk, &root) || file->st_dev != root.st_dev || !S_ISREG(file->st_mode)) return 0;
    long at = __sync_add_and_fetch(&counts[call], 1);
    long first = meant("DRILL_EIO", call);
    if (!first || at < first) return 0;
    errno = EIO;
    return 1;
}

ssize_t write(int file, const void *bytes, size_t count) {
    static ssize_t (*next)(int, const void *, size_t);
    if (!next) next = dlsym(RTLD_NEXT, "write");
    struct stat info;
    return !fstat(file, &info) && fails(WRITE, &info) ? -1 : next(file, bytes, count);
}

int fsync(int file) {
    static int (*next)(int);
    if (!next) next = dlsym(RTLD_NEXT, "fsync");
    struct stat info;
    return !fstat(file, &info) && fails(SYNC, &info) ? -1 : next(file);
}

int fdatasync(int file) {
    static int (*next)(int);
    if (!next) next = dlsym(RTLD_NEXT, "fdatasync");
    struct stat info;
    return !fstat(file, &info) && fails(SYNC, &info) ? -1 : next(file);
}

int rename(const char *from, const char *to) {
    static int (*next)(const char *, const char *);
    if (!next) next = dlsym(RTLD_NEXT, "rename");
    struct stat info;
    return !lstat(from, &info) && fails(RENAME, &info) ? -1 : next(from, to);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    static int (*next)(clockid_t, struct timespec *);
    static unsigned state = 1;
    if (!next) next = dlsym(RTLD_NEXT, "clock_gettime");
    int result = next(clock, time);
    if (!result && getenv("DRILL_CLOCK")) {
        state = state * 1664525u + 1013904223u;
        time->tv_sec += (long)(state >> 16) % 7200 - 3600;
        if (time->tv_sec < 0) time->tv_sec = 0;
    }
    return result;
}
