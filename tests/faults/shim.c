/* Faults of the file system, aimed: loaded before libc, it counts the changes that a
   process makes below one folder and does something at the N-th of them.

   fault_arm(root, at, kind): kind 0 counts alone, 1 kills before the call, 2 writes
   half and kills, 3 fails with ENOSPC from there on, 4 fails once with EIO.
   fault_count(): changes so far. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sendfile.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static atomic_long count;
static long at = -1;
static int kind;

void fault_arm(const char *where, long n, int what) {
  strncpy(root, where, sizeof root - 1);
  count = 0, at = n, kind = what;
}
long fault_count(void) { return count; }

static int below(const char *path) {
  char whole[2 * PATH_MAX], here[PATH_MAX];
  if (!root[0] || !path) return 0;
  if (path[0] != '/' && getcwd(here, sizeof here)) {
    snprintf(whole, sizeof whole, "%s/%s", here, path);
    path = whole;
  }
  return strncmp(path, root, strlen(root)) == 0;
}

static int fd_below(int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n <= 0) return 0;
  path[n] = 0;
  return below(path);
}

/* 0: go on; 1: fail with errno; 2: write half first. */
static int hit(int is_ours) {
  if (!is_ours || at < 0) return 0;
  long now = ++count;
  if (kind == 0 || (kind == 3 ? now < at : now != at)) return 0;
  if (kind == 1) raise(SIGKILL);
  if (kind == 2) return 2;
  errno = kind == 3 ? ENOSPC : EIO;
  return 1;
}

#define REAL(type, name, ...)                        \
  static type (*real)(__VA_ARGS__);                  \
  if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)
#define ONE(type, name, path, args, ...)             \
  type name(__VA_ARGS__) {                           \
    REAL(type, name, __VA_ARGS__);                   \
    int what = hit(below(path));                     \
    if (what == 2) raise(SIGKILL);                   \
    return what ? (type)-1 : real args;              \
  }

ONE(int, rename, to, (from, to), const char *from, const char *to)
ONE(int, renameat, to, (a, from, b, to), int a, const char *from, int b, const char *to)
ONE(int, unlink, path, (path), const char *path)
ONE(int, rmdir, path, (path), const char *path)
ONE(int, mkdir, path, (path, mode), const char *path, mode_t mode)
ONE(int, link, to, (from, to), const char *from, const char *to)
ONE(int, symlink, to, (from, to), const char *from, const char *to)
ONE(int, truncate, path, (path, size), const char *path, off_t size)
ONE(int, chmod, path, (path, mode), const char *path, mode_t mode)

int unlinkat(int dir, const char *path, int flags) {
  REAL(int, unlinkat, int, const char *, int);
  int what = hit(dir == AT_FDCWD ? below(path) : fd_below(dir));
  if (what == 2) raise(SIGKILL);
  return what ? -1 : real(dir, path, flags);
}

#define OPEN(name)                                                        \
  int name(const char *path, int flags, ...) {                            \
    REAL(int, name, const char *, int, ...);                              \
    va_list rest;                                                         \
    va_start(rest, flags);                                                \
    mode_t mode = flags & O_CREAT ? va_arg(rest, mode_t) : 0;             \
    va_end(rest);                                                         \
    int what = hit((flags & (O_CREAT | O_TRUNC)) && below(path));         \
    if (what == 2) raise(SIGKILL);                                        \
    return what ? -1 : real(path, flags, mode);                           \
  }
OPEN(open)
OPEN(open64)

#define WRITE(name, args, type_args)                                      \
  ssize_t name type_args {                                                \
    static ssize_t(*real) type_args;                                      \
    if (!real) real = (ssize_t(*) type_args)dlsym(RTLD_NEXT, #name);      \
    int what = at >= 0 && root[0] ? hit(fd_below(fd)) : 0;                \
    if (what == 2) {                                                      \
      size /= 2;                                                          \
      (void)!real args;                                                   \
      raise(SIGKILL);                                                     \
    }                                                                     \
    return what ? -1 : real args;                                         \
  }
WRITE(write, (fd, data, size), (int fd, const void *data, size_t size))
WRITE(pwrite, (fd, data, size, from), (int fd, const void *data, size_t size, off_t from))
WRITE(sendfile, (fd, from, offset, size), (int fd, int from, off_t *offset, size_t size))
WRITE(sendfile64, (fd, from, offset, size), (int fd, int from, off_t *offset, size_t size))
WRITE(pwrite64, (fd, data, size, from), (int fd, const void *data, size_t size, off_t from))

/* Half of what is gathered: the first of its pieces, by half. */
ssize_t writev(int fd, const struct iovec *pieces, int n) {
  REAL(ssize_t, writev, int, const struct iovec *, int);
  int what = at >= 0 && root[0] ? hit(fd_below(fd)) : 0;
  if (what == 2) {
    struct iovec half = *pieces;
    half.iov_len /= 2;
    (void)!real(fd, &half, 1);
    raise(SIGKILL);
  }
  return what ? -1 : real(fd, pieces, n);
}

#define HANDLE(name, args, ...)                                \
  int name(__VA_ARGS__) {                                      \
    REAL(int, name, __VA_ARGS__);                              \
    int what = at >= 0 && root[0] ? hit(fd_below(fd)) : 0;     \
    if (what == 2) raise(SIGKILL);                             \
    return what ? -1 : real args;                              \
  }
HANDLE(fsync, (fd), int fd)
HANDLE(fdatasync, (fd), int fd)
HANDLE(ftruncate, (fd, size), int fd, off_t size)
HANDLE(ftruncate64, (fd, size), int fd, off_t size)
