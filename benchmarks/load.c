/* A load generator for WebSocket servers on loopback: one thread, one epoll loop.

   load MODE --port N [--connections N] [--depth N] [--size BYTES] [--binary] [--deflate]
             [--seconds S] [--warmup S] [--pid N]

   echo       DEPTH messages are in flight on each connection, each reply is compared
   broadcast  one connection sends, the server sends that to all, and so on
   handshake  connect, upgrade, close, end of the stream, and again, CONNECTIONS at a time
   idle       one message is echoed on each connection, which then stays open until the
              standard input ends

   It prints one JSON object: what was done in the measured time, and how much CPU time
   ("server_cpu") process PID took for it. Whatever goes wrong ends it with an "error". */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { MAX_OPENING = 64, MAX_HEAD = 4096, PATIENCE = 30 };
enum { TEXT = 0x81, BINARY = 0x82, CLOSE = 0x88, PING = 0x89, PONG = 0x8A, COMPRESSED = 0x40 };

/* The key is the example of RFC 6455 §1.3, so that the answer to it is known. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

typedef enum { UPGRADING, OPEN, CLOSING } State;

typedef struct {
    int fd;
    State state;
    bool waits_for_room;
    uint8_t *input; /* what has come of replies that are incomplete */
    size_t filled;
    uint64_t sent, received; /* messages */
    unsigned owed;           /* messages that are still to be sent */
    size_t offset;           /* how much of the first of them has been sent */
} Connection;

static enum { ECHO, BROADCAST, HANDSHAKE, IDLE } mode;
static int port, connection_count = 1, depth = 1;
static size_t size = 32;
static int variants = 64; /* of a message: together more than a window of 32 KiB holds */
static bool binary, deflate;
static double seconds = 1, warmup = 0.2;
static clockid_t server_clock = -1;

static Connection *connections;
static int epoll, opening, opened, gone, heard;
static bool leaving;
static uint64_t done; /* messages, or handshakes */

static uint8_t *payloads; /* as many as variants */
static uint8_t *frames;   /* the same twice over, so that as many follow on every one */
static size_t frame_size, capacity;
static char request[512];

__attribute__((format(printf, 1, 2), noreturn)) static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    printf("{\"error\": \"");
    vprintf(format, arguments);
    printf("\"}\n");
    exit(1);
}

static double read_clock(clockid_t clock) {
    struct timespec time = {0};
    if (clock_gettime(clock, &time)) fail("clock: %s", strerror(errno));
    return time.tv_sec + time.tv_nsec / 1e9;
}

static double now(void) { return read_clock(CLOCK_MONOTONIC); }

/* --- what is sent --- */

static size_t put_head(uint8_t *out, uint8_t first, size_t length, const uint8_t key[4]) {
    size_t n = 0;
    out[n++] = first;
    int width = length < 126 ? 0 : length < 65536 ? 2 : 8;
    out[n++] = 0x80 | (width == 0 ? length : width == 2 ? 126 : 127);
    while (width--) out[n++] = (uint64_t)length >> 8 * width;
    memcpy(out + n, key, 4);
    return n + 4;
}

/* A message as permessage-deflate wants it: one block, stored, and the begin of an empty one. */
static size_t store(uint8_t *out, const uint8_t *data, size_t length) {
    uint8_t head[5] = {0, length, length >> 8, ~length, ~length >> 8};
    memcpy(out, head, 5);
    memcpy(out + 5, data, length);
    out[5 + length] = 0;
    return length + 6;
}

/* JSON of records as an API sends them, cut where the message ends: it compresses to a quarter. */
static void write_json(char *out, size_t length) {
    char record[128];
    for (size_t done = 0, n; done < length; done += n) {
        n = snprintf(record, sizeof record,
                     "%s{\"id\": %d, \"name\": \"user%d\", \"active\": %s, \"score\": %d.%02d}",
                     done ? ", " : "[", rand() % 1000000, rand() % 1000,
                     rand() % 2 ? "true" : "false", rand() % 100, rand() % 100);
        if (n > length - done) n = length - done;
        memcpy(out + done, record, n);
    }
}

static void make_payload(uint8_t *out) {
    if (deflate && !binary) write_json((char *)out, size);
    else for (size_t i = 0; i < size; i++) out[i] = binary ? rand() : 'a' + rand() % 26;
}

static void make_messages(void) {
    if (size > 65535) variants = 16;
    if (deflate && size > 65535) fail("a stored block holds 65535 bytes at the most");
    payloads = malloc(variants * size + 1);
    frames = malloc(2 * variants * (size + 20));
    uint8_t *wire = malloc(size + 6);
    srand(6455);
    for (int i = 0; i < variants; i++) make_payload(payloads + i * size);
    for (int i = 0; i < 2 * variants; i++) {
        const uint8_t *payload = payloads + i % variants * size;
        uint8_t key[4] = {rand(), rand(), rand(), rand()};
        size_t length = size;
        if (deflate) length = store(wire, payload, size);
        else memcpy(wire, payload, size);
        uint8_t *frame = frames + i * frame_size;
        uint8_t first = (binary ? BINARY : TEXT) | (deflate ? COMPRESSED : 0);
        size_t head = put_head(frame, first, length, key);
        for (size_t j = 0; j < length; j++) frame[head + j] = wire[j] ^ key[j % 4];
        frame_size = head + length;
    }
    free(wire);
    capacity = MAX_HEAD + depth * (size + 64);
}

static void watch(Connection *c, bool for_room) {
    if (c->waits_for_room == for_room) return;
    c->waits_for_room = for_room;
    struct epoll_event event = {EPOLLIN | (for_room ? EPOLLOUT : 0), {.ptr = c}};
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

static void send_owed(Connection *c) {
    while (c->owed) {
        unsigned run = c->owed < variants ? c->owed : variants;
        const uint8_t *start = frames + c->sent % variants * frame_size;
        ssize_t n = send(c->fd, start + c->offset, run * frame_size - c->offset, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) break;
        if (n < 0) fail("send: %s", strerror(errno));
        c->offset += n;
        c->sent += c->offset / frame_size;
        c->owed -= c->offset / frame_size;
        c->offset %= frame_size;
    }
    watch(c, c->owed > 0);
}

static void send_control(Connection *c, uint8_t first, const uint8_t *payload, size_t length) {
    if (c->offset) return; /* not in the middle of a message: that is a sign of life itself */
    uint8_t frame[131], no_key[4] = {0};
    size_t head = put_head(frame, first, length, no_key);
    memcpy(frame + head, payload, length);
    if (send(c->fd, frame, head + length, MSG_NOSIGNAL) < 0) fail("send: %s", strerror(errno));
}

/* --- what is received --- */

static void start_closing(Connection *c) {
    const uint8_t normal[2] = {1000 >> 8, 1000 & 0xFF};
    send_control(c, CLOSE, normal, 2);
    c->state = CLOSING;
}

static void on_open(Connection *c) {
    c->state = OPEN;
    opening--;
    opened++;
    if (mode == HANDSHAKE) {
        start_closing(c);
    } else {
        c->owed = mode == IDLE ? 1 : mode == BROADCAST ? 0 : depth;
        send_owed(c);
    }
}

/* Count the messages that a connection gets: answers, or what the first one says to all. */
static uint64_t due(const Connection *c) {
    return mode == BROADCAST ? connections[0].sent : c->sent;
}

static void speak(void) {
    heard = 0;
    connections[0].owed++;
    send_owed(&connections[0]);
}

static void on_message(Connection *c, const uint8_t *payload, size_t length) {
    const uint8_t *expected = payloads + c->received % variants * size;
    if (!deflate && (length != size || memcmp(payload, expected, size)))
        fail("reply %llu is no echo", (unsigned long long)c->received);
    if (c->received == due(c)) fail("a reply came to nothing");
    c->received++;
    done++;
    if (leaving) return;
    if (mode == ECHO) c->owed++;
    if (mode == BROADCAST && ++heard == connection_count) speak();
}

static void on_frame(Connection *c, uint8_t first, const uint8_t *payload, size_t length) {
    if (deflate) first &= ~COMPRESSED;
    if (first == (binary ? BINARY : TEXT)) on_message(c, payload, length);
    else if (first == PING) send_control(c, PONG, payload, length);
    else if (first != CLOSE) fail("unexpected frame %#x", first);
    else if (c->state != CLOSING)
        fail("closed with %d", length < 2 ? 1005 : payload[0] << 8 | payload[1]);
}

/* Give the size of the whole frame that `data` begins with; 0 while it is incomplete. */
static size_t take_frame(Connection *c, const uint8_t *data, size_t available) {
    if (available < 2) return 0;
    size_t length = data[1], head = length == 126 ? 4 : length == 127 ? 10 : 2;
    if (length > 127) fail("a server must not mask its frames");
    if (available < head) return 0;
    if (head > 2) length = 0;
    for (size_t i = 2; i < head; i++) length = length << 8 | data[i];
    if (head + length > capacity) fail("a reply of %zu bytes", length);
    if (available < head + length) return 0;
    on_frame(c, data[0], data + head, length);
    return head + length;
}

/* Give the size of the response to our handshake; 0 while it is incomplete. */
static size_t take_response(Connection *c) {
    const char *head = (const char *)c->input;
    const char *end = memmem(head, c->filled, "\r\n\r\n", 4);
    if (end == NULL) return 0;
    size_t length = end + 4 - head;
    if (length < 12 || memcmp(head, "HTTP/1.1 101", 12)) fail("status %.3s", head + 9);
    if (!memmem(head, length, ACCEPT, strlen(ACCEPT))) fail("wrong Sec-WebSocket-Accept");
    if (!memmem(head, length, "permessage-deflate", 18) != !deflate)
        fail("compression is %s", deflate ? "declined" : "there unasked");
    on_open(c);
    return length;
}

static void connect_one(Connection *c);

static void on_end(Connection *c) {
    if (c->state != CLOSING) fail("the server ended the stream");
    close(c->fd);
    if (leaving) {
        gone++;
        return;
    }
    done++;
    connect_one(c);
}

static void leave_if_answered(Connection *c) {
    if (c->state == OPEN && !c->owed && c->received == due(c)) start_closing(c);
}

static void on_input(Connection *c) {
    ssize_t n = recv(c->fd, c->input + c->filled, capacity - c->filled, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) fail("recv: %s", strerror(errno));
    if (n == 0) {
        on_end(c);
        return;
    }
    c->filled += n;
    size_t used = 0, step = 0;
    if (c->state == UPGRADING) used = take_response(c);
    if (c->state == UPGRADING) return;
    while ((step = take_frame(c, c->input + used, c->filled - used))) used += step;
    c->filled -= used;
    memmove(c->input, c->input + used, c->filled);
    send_owed(c);
    if (leaving) leave_if_answered(c);
}

/* --- connections, and time --- */

static void connect_one(Connection *c) {
    uint8_t *input = c->input ? c->input : malloc(capacity);
    *c = (Connection){.fd = socket(AF_INET, SOCK_STREAM, 0), .input = input};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    /* On loopback this does not wait, as no more are under way than a backlog holds. */
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address))
        fail("connect: %s", strerror(errno));
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) || send(c->fd, request, strlen(request), MSG_NOSIGNAL) < 0)
        fail("request: %s", strerror(errno));
    struct epoll_event event = {EPOLLIN, {.ptr = c}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
    opening++;
}

/* Handle what happens within 20 ms; false when the standard input has ended. */
static bool turn(void) {
    struct epoll_event events[256];
    int count = epoll_wait(epoll, events, 256, 20);
    for (int i = 0; i < count; i++) {
        Connection *c = events[i].data.ptr;
        if (c == NULL) return false;
        if (events[i].events & EPOLLOUT) send_owed(c);
        if (events[i].events & ~EPOLLOUT) on_input(c);
    }
    return true;
}

/* Go on for a time, and until something was done in it however slow the machine is. */
static void run_for(double duration) {
    double end = now() + duration;
    uint64_t before = done;
    while (now() < end || (done == before && duration > 0)) {
        turn();
        if (now() > end + PATIENCE) fail("nothing was answered");
    }
}

static void open_all(void) {
    double deadline = now() + PATIENCE;
    for (int started = 0; opened < connection_count;) {
        while (started < connection_count && opening < MAX_OPENING)
            connect_one(&connections[started++]);
        turn();
        if (now() > deadline) fail("%d of %d connections opened", opened, connection_count);
    }
}

static void leave_all(void) {
    double deadline = now() + PATIENCE;
    leaving = true;
    for (int i = 0; i < connection_count; i++) leave_if_answered(&connections[i]);
    while (gone < connection_count) {
        turn();
        if (now() > deadline) fail("%d of %d connections ended", gone, connection_count);
    }
}

static void hold(void) {
    double deadline = now() + PATIENCE;
    while (done < (uint64_t)connection_count) {
        turn();
        if (now() > deadline) fail("%d of %d replies came", (int)done, connection_count);
    }
    printf("{\"open\": %d}\n", opened);
    fflush(stdout);
    struct epoll_event event = {EPOLLIN, {.ptr = NULL}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
    while (turn()) {}
    epoll_ctl(epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    leave_all();
}

static void measure(void) {
    if (mode == BROADCAST) speak();
    run_for(warmup);
    bool asked = server_clock != -1;
    double began = now(), cpu = asked ? read_clock(server_clock) : 0;
    uint64_t before = done;
    do run_for(seconds); /* an answer may have been on its way already */
    while (asked && read_clock(server_clock) == cpu);
    double elapsed = now() - began, used = asked ? read_clock(server_clock) - cpu : 0;
    uint64_t count = done - before;
    leave_all();
    printf("{\"done\": %llu, \"seconds\": %.6f, \"server_cpu\": %.6f}\n",
           (unsigned long long)count, elapsed, used);
}

static void parse_options(int count, char **arguments) {
    static const struct option options[] = {
        {"port", 1, 0, 'p'},    {"connections", 1, 0, 'c'}, {"depth", 1, 0, 'd'},
        {"size", 1, 0, 's'},    {"binary", 0, 0, 'b'},      {"deflate", 0, 0, 'z'},
        {"seconds", 1, 0, 't'}, {"warmup", 1, 0, 'w'},      {"pid", 1, 0, 'i'},
        {0, 0, 0, 0},
    };
    int option;
    while ((option = getopt_long(count, arguments, "", options, NULL)) != -1) switch (option) {
        case 'p': port = atoi(optarg); break;
        case 'c': connection_count = atoi(optarg); break;
        case 'd': depth = atoi(optarg); break;
        case 's': size = strtoul(optarg, NULL, 10); break;
        case 'b': binary = true; break;
        case 'z': deflate = true; break;
        case 't': seconds = atof(optarg); break;
        case 'w': warmup = atof(optarg); break;
        case 'i':
            if (clock_getcpuclockid(atoi(optarg), &server_clock)) fail("no process %s", optarg);
            break;
        default: exit(2);
        }
    const char *name = optind < count ? arguments[optind] : "";
    if (!strcmp(name, "echo")) mode = ECHO;
    else if (!strcmp(name, "handshake")) mode = HANDSHAKE;
    else if (!strcmp(name, "idle")) mode = IDLE;
    else if (!strcmp(name, "broadcast")) mode = BROADCAST;
    else fail("a mode is echo, broadcast, handshake or idle");
    if (connection_count < 1 || depth < 1) fail("there is nothing to do");
}

int main(int count, char **arguments) {
    parse_options(count, arguments);
    make_messages();
    snprintf(request, sizeof request,
             "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
             "Connection: Upgrade\r\nSec-WebSocket-Key: " KEY "\r\n"
             "Sec-WebSocket-Version: 13\r\n%s\r\n",
             port,
             deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
                     : "");
    connections = calloc(connection_count, sizeof *connections);
    epoll = epoll_create1(0);
    open_all();
    if (mode == IDLE) hold();
    else measure();
    return 0;
}
