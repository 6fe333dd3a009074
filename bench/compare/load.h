/* load.h: what the C programs of bench/compare share: clock, errors, sockets, epoll.
 *
 * Each program defines PROGRAM, its name in messages, before it includes this. Everything is single-threaded. */
#ifndef LBD_BENCH_LOAD_H
#define LBD_BENCH_LOAD_H
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* A connection that has made no progress for so long when the run ends does not count as merely in flight. */
#define STALL_NS 1000000000LL

static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000LL + t.tv_nsec;
}

static inline void die(const char *what) {
    fprintf(stderr, PROGRAM ": %s: %s\n", what, strerror(errno));
    exit(2);
}

static inline void watch(int epoll, int fd, uint32_t kinds, void *what) {
    struct epoll_event event = {.events = kinds, .data.ptr = what};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

static inline struct sockaddr_in loopback(const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) { errno = EINVAL; die("HOST must be an IPv4 address"); }
    return address;
}

/* A connected, still blocking socket; -1 with errno when the peer does not accept. */
static inline int connect_to(const char *host, int port) {
    struct sockaddr_in address = loopback(host, port);
    struct timeval patience = {.tv_sec = 10};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address)) {
        int reason = errno;
        close(fd);
        errno = reason;
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static inline void unblock(int fd) {
    if (fcntl(fd, F_SETFL, O_NONBLOCK)) die("fcntl");
}
#endif
