# cython: language_level=3
"""The Linux system calls and constants that the engine makes itself (libc's declarations that Cython does not ship)."""

from libc.stdint cimport uint16_t, uint32_t, uint64_t

cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE 1
    #endif
    #include <arpa/inet.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <string.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <sys/un.h>
    #include <time.h>
    #include <unistd.h>
    """
    ctypedef long ssize_t
    ctypedef unsigned int socklen_t

    int errno
    int EAGAIN, EINTR, EINPROGRESS, EMFILE, ENFILE, ENOBUFS, ENOMEM, ECONNABORTED, ECONNRESET, EPIPE, EADDRNOTAVAIL

    struct sockaddr:
        uint16_t sa_family
    struct in_addr:
        uint32_t s_addr
    struct sockaddr_in:
        uint16_t sin_family
        uint16_t sin_port
        in_addr sin_addr
    struct in6_addr:
        unsigned char s6_addr[16]
    struct sockaddr_in6:
        uint16_t sin6_family
        uint16_t sin6_port
        in6_addr sin6_addr
        uint32_t sin6_scope_id
    struct sockaddr_un:
        uint16_t sun_family
        char sun_path[108]
    struct sockaddr_storage:
        uint16_t ss_family

    int AF_INET, AF_INET6, AF_UNIX, SOCK_STREAM, SOCK_NONBLOCK, SOCK_CLOEXEC
    int SOL_SOCKET, SO_ERROR, SO_LINGER, SHUT_RD, SHUT_WR, SHUT_RDWR, IPPROTO_TCP, TCP_NODELAY
    int SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_USER_TIMEOUT, TCP_CONGESTION, TCP_FASTOPEN_CONNECT
    int TCP_INFO
    struct tcp_info:
        uint32_t tcpi_rtt                   # microseconds, smoothed
    int getsockname(int, sockaddr*, socklen_t*)
    int MSG_NOSIGNAL, MSG_DONTWAIT, MSG_PEEK

    struct linger:
        int l_onoff
        int l_linger
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        void* msg_name
        socklen_t msg_namelen
        iovec* msg_iov
        size_t msg_iovlen
        void* msg_control
        size_t msg_controllen
        int msg_flags

    int socket(int, int, int)
    int connect(int, const sockaddr*, socklen_t)
    int accept4(int, sockaddr*, socklen_t*, int)
    int setsockopt(int, int, int, const void*, socklen_t)
    int getsockopt(int, int, int, void*, socklen_t*)
    int shutdown(int, int)
    ssize_t recv(int, void*, size_t, int)
    ssize_t send(int, const void*, size_t, int)
    ssize_t sendmsg(int, const msghdr*, int)
    int close(int)
    int pipe2(int*, int)
    int O_NONBLOCK, O_CLOEXEC, F_SETPIPE_SZ
    int fcntl(int, int, ...)
    const char* inet_ntop(int, const void*, char*, socklen_t)
    uint16_t ntohs(uint16_t)
    uint16_t htons(uint16_t)
    uint32_t ntohl(uint32_t)

    ssize_t splice(int, void*, int, void*, size_t, unsigned int)
    unsigned int SPLICE_F_MOVE, SPLICE_F_NONBLOCK, SPLICE_F_MORE

    union epoll_data:
        void* ptr
        int fd
    struct epoll_event:
        uint32_t events
        epoll_data data
    int epoll_create1(int)
    int epoll_ctl(int, int, int, epoll_event*)
    int epoll_wait(int, epoll_event*, int, int)
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_DEL
    uint32_t EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR, EPOLLET

    struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int, timespec*)
    int CLOCK_MONOTONIC, CLOCK_REALTIME

    void* memmem(const void*, size_t, const void*, size_t)
    char* strerror(int)


cdef inline uint64_t monotonic_us() noexcept nogil:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t> t.tv_sec * 1000000 + <uint64_t> t.tv_nsec // 1000
