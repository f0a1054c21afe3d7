/* Loads one HTTP/1.1 server: N keep-alive connections, each with one request at a time.
 *
 *   load PORT CONNECTIONS SECONDS REQUESTS ANSWERS
 *
 * In C, because a generator in Python takes as much of a small machine as a fast server does.
 * REQUESTS holds whole requests: u32 count, then u32 length and bytes of each. They are sent in turn.
 * Answers are compared by their bytes: each body that a request had not got before is written to
 * ANSWERS (u32 request, u32 length, bytes), so that whoever started this can check every distinct one.
 * One JSON object on stdout: requests, seconds, failed (connection lost or status not 200),
 * first_problem, p50_ms, p99_ms, cpu_s (of this process).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_DISTINCT 64
#define MAX_LATENCIES (1 << 23)

struct body { char *bytes; uint32_t length; };
struct request { char *bytes; uint32_t length; int distinct; struct body seen[MAX_DISTINCT]; };
struct connection {
    int fd; uint32_t row; uint32_t sent; double began;
    char *in; size_t have, room;
};

static struct request *requests;
static uint32_t request_count, next_row;
static FILE *answers;
static float *latencies;
static long done, failed, latency_count;
static char first_problem[400];
static int port;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void die(const char *what) { perror(what); exit(2); }

static void problem(const char *text, size_t length) {
    failed++;
    if (first_problem[0]) return;
    size_t n = 0;
    for (size_t i = 0; i < length && n < sizeof first_problem - 1; i++) {
        unsigned char c = text[i];
        first_problem[n++] = (c < 32 || c > 126 || c == '"' || c == '\\') ? ' ' : c;
    }
}

static void read_requests(const char *path) {
    FILE *in = fopen(path, "rb");
    if (!in || fread(&request_count, 4, 1, in) != 1) die(path);
    requests = calloc(request_count, sizeof *requests);
    for (uint32_t i = 0; i < request_count; i++) {
        if (fread(&requests[i].length, 4, 1, in) != 1) die(path);
        requests[i].bytes = malloc(requests[i].length);
        if (fread(requests[i].bytes, 1, requests[i].length, in) != requests[i].length) die(path);
    }
    fclose(in);
}

static void note(uint32_t row, const char *bytes, uint32_t length) {
    struct request *r = &requests[row];
    for (int i = 0; i < r->distinct; i++)
        if (r->seen[i].length == length && !memcmp(r->seen[i].bytes, bytes, length)) return;
    if (r->distinct == MAX_DISTINCT) { problem("a request got too many different answers", 40); return; }
    struct body *b = &r->seen[r->distinct++];
    b->bytes = malloc(length);
    memcpy(b->bytes, bytes, length);
    b->length = length;
    fwrite(&row, 4, 1, answers);
    fwrite(&length, 4, 1, answers);
    fwrite(bytes, 1, length, answers);
}

static void open_connection(struct connection *c, int poll) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&to, sizeof to)) die("connect");
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &e)) die("epoll_ctl");
    c->have = 0;
}

static void ask(struct connection *c) {
    c->row = next_row++ % request_count;
    c->began = now();
    struct request *r = &requests[c->row];
    for (uint32_t at = 0; at < r->length;) {
        ssize_t n = send(c->fd, r->bytes + at, r->length - at, MSG_NOSIGNAL);
        if (n < 0) { if (errno == EINTR) continue; return; }  /* the read will tell */
        at += n;
    }
}

/* Whether the answer is whole. */
static int take(struct connection *c) {
    char *end = memmem(c->in, c->have, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = end - c->in + 4;
    long length = -1;
    for (char *line = c->in; line < end;) {
        if (!strncasecmp(line, "content-length:", 15)) length = atol(line + 15);
        char *next = memmem(line, end + 2 - line, "\r\n", 2);
        if (!next) break;
        line = next + 2;
    }
    if (length < 0) { problem("an answer without a length", 26); exit(3); }
    if (c->have < head + length) return 0;
    if (c->have < 12 || memcmp(c->in + 9, "200", 3)) problem(c->in, c->have > 380 ? 380 : c->have);
    else note(c->row, c->in + head, length);
    c->have -= head + length;
    if (c->have) memmove(c->in, c->in + head + length, c->have);
    return 1;
}

static int by_size(const void *a, const void *b) {
    float d = *(const float *)a - *(const float *)b;
    return d < 0 ? -1 : d > 0;
}

int main(int argc, char **argv) {
    if (argc != 6) { fprintf(stderr, "usage: load PORT CONNECTIONS SECONDS REQUESTS ANSWERS\n"); return 2; }
    port = atoi(argv[1]);
    int count = atoi(argv[2]);
    double seconds = atof(argv[3]);
    read_requests(argv[4]);
    if (!(answers = fopen(argv[5], "wb"))) die(argv[5]);
    latencies = malloc(sizeof(float) * MAX_LATENCIES);
    struct connection *all = calloc(count, sizeof *all);
    int poll = epoll_create1(0), open = count;
    for (int i = 0; i < count; i++) {
        all[i].room = 1 << 18;
        all[i].in = malloc(all[i].room);
        open_connection(&all[i], poll);
    }
    double begin = now(), until = begin + seconds;
    for (int i = 0; i < count; i++) ask(&all[i]);
    struct epoll_event ready[256];
    while (open) {
        int n = epoll_wait(poll, ready, 256, 30000);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) { problem("no answer for 30 s", 18); break; }
        for (int i = 0; i < n; i++) {
            struct connection *c = ready[i].data.ptr;
            if (c->have + (1 << 16) > c->room) c->in = realloc(c->in, c->room *= 2);
            ssize_t got = recv(c->fd, c->in + c->have, c->room - c->have, 0);
            if (got <= 0) {
                if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
                problem("the server closed a connection", 30);
                close(c->fd);
                open--;
                continue;
            }
            c->have += got;
            if (!take(c)) continue;
            double at = now();
            done++;
            if (latency_count < MAX_LATENCIES) latencies[latency_count++] = (at - c->began) * 1e3;
            if (at < until) { ask(c); continue; }
            close(c->fd);
            open--;
        }
    }
    double taken = now() - begin;
    fclose(answers);
    qsort(latencies, latency_count, sizeof(float), by_size);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu = used.ru_utime.tv_sec + used.ru_stime.tv_sec
               + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1e-6;
    printf("{\"requests\": %ld, \"seconds\": %.4f, \"failed\": %ld, \"first_problem\": \"%s\", "
           "\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"cpu_s\": %.4f}\n",
           done, taken, failed, first_problem,
           latency_count ? latencies[latency_count / 2] : 0.0,
           latency_count ? latencies[(long)(latency_count * 0.99)] : 0.0, cpu);
    return 0;
}
