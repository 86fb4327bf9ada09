/* Preloaded into a process by tests/drills.rs: system calls that fail on purpose.
 *
 *   DRILL_EIO=K    the K-th write to a regular file (from 1) and all later ones fail with EIO
 *   DRILL_CLOCK=1  every look at a clock is off by up to an hour, forwards and backwards */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static long writes;

ssize_t write(int file, const void *bytes, size_t count) {
    static ssize_t (*next)(int, const void *, size_t);
    if (!next) next = dlsym(RTLD_NEXT, "write");
    const char *first = getenv("DRILL_EIO");
    struct stat info;
    if (first && !fstat(file, &info) && S_ISREG(info.st_mode) && __sync_add_and_fetch(&writes, 1) >= atol(first)) {
        errno = EIO;
        return -1;
    }
    return next(file, bytes, count);
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
