/* What the kernel, the generator and this machine leave to any server: one that does nothing.
 *
 *   empty
 *
 * It takes whole HTTP/1.1 requests by their content-length and answers each with the same few bytes:
 * no route, no token, no JSON, no model. It prints its port and runs until it is killed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define ROOM (4 << 20)

struct connection { int fd; size_t have; char *in; };

static const char ANSWER[] =
    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 19\r\n\r\n"
    "{\"predictions\":[0]}";

static void die(const char *what) { perror(what); exit(2); }

/* Answer what is whole. 0: the connection is of no more use. */
static int turn(struct connection *c) {
    ssize_t got = recv(c->fd, c->in + c->have, ROOM - 1 - c->have, 0);
    if (got <= 0) return got < 0 && (errno == EINTR || errno == EAGAIN);
    c->have += got;
    for (;;) {
        c->in[c->have] = 0;
        char *end = memmem(c->in, c->have, "\r\n\r\n", 4);
        if (!end) return c->have < ROOM - 1;
        char *length = strcasestr(c->in, "content-length:");
        size_t whole = end + 4 - c->in + (length && length < end ? strtoul(length + 15, NULL, 10) : 0);
        if (c->have < whole) return whole < ROOM;
        if (send(c->fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) < 0) return 0;
        c->have -= whole;
        memmove(c->in, c->in + whole, c->have);
    }
}

int main(void) {
    int listener = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0), one = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    if (listener < 0 || bind(listener, (struct sockaddr *)&at, size) || listen(listener, 512)) die("listen");
    if (getsockname(listener, (struct sockaddr *)&at, &size)) die("getsockname");
    printf("%d\n", ntohs(at.sin_port));
    fflush(stdout);
    struct epoll_event ready[256], e = {.events = EPOLLIN};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, listener, &e)) die("epoll_ctl");
    for (;;) {
        int n = epoll_wait(poll, ready, 256, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = ready[i].data.ptr;
            if (c) {
                if (!turn(c)) { close(c->fd); free(c->in); free(c); }
                continue;
            }
            int fd = accept(listener, NULL, NULL);
            if (fd < 0) continue;
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            c = calloc(1, sizeof *c);
            c->fd = fd;
            c->in = malloc(ROOM);
            e.data.ptr = c;
            if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl");
        }
    }
}
