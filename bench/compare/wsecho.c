/* wsecho: the WebSocket origin (RFC 6455): echoes every data frame, the same for every proxy.
 *
 * Strategy: one thread, epoll, one small buffer per connection. Frames are unmasked in place and answered with
 * one send each; what does not fit into the buffer or breaks the rules ends the connection.
 *
 * Invariants: a frame of a client must be masked (RFC 6455 5.1) and carry no extension bits; a ping gets its
 * pong, a close its close; memory is bounded by BUFFER per connection; a peer that does not read is dropped.
 *
 * Usage: wsecho PORT      (listens on 127.0.0.1 and runs until it is terminated)
 */
#define _GNU_SOURCE
#define PROGRAM "wsecho"
#include "load.h"
#include <openssl/evp.h>

#define BUFFER 8192
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" /* RFC 6455 1.3 */
#define KEY_LENGTH 24 /* 16 bytes in base64 */
#define FINAL_OR_OPCODE 0x8f
enum opcode { CLOSE = 8, PING = 9, PONG = 10 };

struct connection {
    int fd;
    int upgraded;
    size_t filled;
    unsigned char buffer[BUFFER + 1];
};

static void drop(struct connection *c) {
    close(c->fd);
    free(c);
}

static int send_all(struct connection *c, const void *data, size_t size) {
    return send(c->fd, data, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* The value of Sec-WebSocket-Key, NULL without one of the right length. */
static const char *find_key(const char *head) {
    const char *line = head;
    while ((line = strstr(line, "\r\n"))) {
        line += 2;
        if (strncasecmp(line, "sec-websocket-key:", 18)) continue;
        line += 18 + strspn(line + 18, " \t");
        return strcspn(line, " \t\r") == KEY_LENGTH ? line : NULL;
    }
    return NULL;
}

static int accept_upgrade(struct connection *c, const char *key) {
    char text[KEY_LENGTH + sizeof GUID], answer[256];
    unsigned char digest[EVP_MAX_MD_SIZE], encoded[EVP_MAX_MD_SIZE * 2];
    unsigned int size;
    snprintf(text, sizeof text, "%.*s" GUID, KEY_LENGTH, key);
    if (!EVP_Digest(text, strlen(text), digest, &size, EVP_sha1(), NULL)) die("SHA-1");
    EVP_EncodeBlock(encoded, digest, (int)size);
    int length = snprintf(answer, sizeof answer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                          "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", encoded);
    return send_all(c, answer, (size_t)length);
}

/* Bytes of the buffer that are done with, -1 to end the connection. */
static ssize_t head(struct connection *c) {
    static const char refusal[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    c->buffer[c->filled] = 0;
    const char *end = strstr((char *)c->buffer, "\r\n\r\n"), *key;
    if (!end) return c->filled == BUFFER ? -1 : 0;
    key = find_key((char *)c->buffer);
    if (!key || key > end) {
        send_all(c, refusal, sizeof refusal - 1);
        return -1;
    }
    c->upgraded = 1;
    return accept_upgrade(c, key) ? end + 4 - (char *)c->buffer : -1;
}

/* The same for one frame. The answer is built in place: it is shorter by the four bytes of the mask. */
static ssize_t frame(struct connection *c, unsigned char *f, size_t have) {
    size_t length, header = 6;
    if (have < 2) return 0;
    if ((f[0] & ~FINAL_OR_OPCODE) || !(f[1] & 0x80) || (f[1] & 0x7f) == 127) return -1;
    length = f[1] & 0x7f;
    if (length == 126) {
        if (have < 4) return 0;
        length = (size_t)f[2] << 8 | f[3];
        header = 8;
    }
    if (header + length > BUFFER) return -1;
    if (have < header + length) return 0;
    for (size_t i = 0; i < length; i++) f[header + i] ^= f[header - 4 + i % 4];
    unsigned char opcode = f[0] & 0x0f;
    if ((opcode > 2 && opcode < CLOSE) || opcode > PONG) return -1; /* reserved */
    unsigned char first = opcode == PING ? (f[0] & 0x80) | PONG : f[0];
    unsigned char mark = f[1] & 0x7f, *answer = f + 4;
    if (opcode == PONG) return (ssize_t)(header + length);
    if (header == 8) memmove(answer + 2, f + 2, 2);
    answer[0] = first;
    answer[1] = mark;
    return send_all(c, answer, header - 4 + length) && opcode != CLOSE ? (ssize_t)(header + length) : -1;
}

static void readable(struct connection *c) {
    ssize_t got = recv(c->fd, c->buffer + c->filled, BUFFER - c->filled, 0), used;
    size_t done = 0;
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) { drop(c); return; }
    c->filled += (size_t)got;
    do {
        used = c->upgraded ? frame(c, c->buffer + done, c->filled - done) : head(c);
        if (used < 0) { drop(c); return; }
        done += (size_t)used;
    } while (used > 0 && done < c->filled);
    memmove(c->buffer, c->buffer + done, c->filled - done);
    c->filled -= done;
}

static void welcome(int listener, int epoll) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
    struct connection *c;
    if (fd < 0) return; /* it went away before it was accepted; another will be told by epoll */
    if (!(c = calloc(1, sizeof *c))) die("memory");
    c->fd = fd;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    watch(epoll, fd, EPOLLIN, c);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: wsecho PORT\n");
        return 2;
    }
    struct sockaddr_in address = loopback("127.0.0.1", atoi(argv[1]));
    struct epoll_event events[256];
    int epoll = epoll_create1(EPOLL_CLOEXEC), one = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) die("listen");
    watch(epoll, listener, EPOLLIN, NULL);
    for (;;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        if (ready < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr) readable(events[i].data.ptr);
            else welcome(listener, epoll);
        }
    }
}
