/* A Modbus slave of libmodbus, the second implementation the driver is tested against.
 *
 * Always true: it ends when stdin ends; "ready PORT" is its first line; what a register holds can be
 * told from its address, so that a value under a wrong name is seen:
 *
 *   holding N   0x4000 + N     N from 0 to 299, writable
 *   input N     0x3000 + N     N from 0 to 299
 *   coil N      N % 3 == 0     N from 0 to 63, writable
 *   discrete N  N % 5 == 0     N from 0 to 63
 *
 * A read that touches holding 200 + C, C from 1 to 11, is refused with exception C.
 *
 *   slave tcp                        on a free port of the loopback
 *   slave rtu PATH BAUD UNIT         on a serial line
 */
#include <arpa/inet.h>
#include <errno.h>
#include <modbus/modbus.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REGISTERS = 300, BITS = 64, REFUSING = 200, MOST_CODE = 11, READ_HOLDING = 3 };

static void *end_with_stdin(void *unused)
{
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    _exit(0);
    return unused;
}

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, modbus_strerror(errno));
    exit(1);
}

static modbus_mapping_t *registers(void)
{
    modbus_mapping_t *held = modbus_mapping_new(BITS, BITS, REGISTERS, REGISTERS);
    if (held == NULL)
        die("registers");
    for (int at = 0; at < REGISTERS; at++) {
        held->tab_registers[at] = (uint16_t)(0x4000 + at);
        held->tab_input_registers[at] = (uint16_t)(0x3000 + at);
    }
    for (int at = 0; at < BITS; at++) {
        held->tab_bits[at] = at % 3 == 0;
        held->tab_input_bits[at] = at % 5 == 0;
    }
    return held;
}

/* The exception for a request, or 0. */
static int refusal(modbus_t *line, const uint8_t *request)
{
    const uint8_t *pdu = request + modbus_get_header_length(line);
    int first = pdu[1] << 8 | pdu[2], count = pdu[3] << 8 | pdu[4];
    for (int code = 1; pdu[0] == READ_HOLDING && code <= MOST_CODE; code++)
        if (first <= REFUSING + code && REFUSING + code < first + count)
            return code;
    return 0;
}

/* Answers until the line is gone. */
static void serve(modbus_t *line, modbus_mapping_t *held)
{
    uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH];
    for (;;) {
        int length = modbus_receive(line, request);
        if (length == -1) {
            if (errno == EMBBADCRC || errno == ETIMEDOUT)
                continue; /* noise, or a frame for somebody else */
            return;
        }
        if (length == 0)
            continue;
        int code = refusal(line, request);
        int sent = code ? modbus_reply_exception(line, request, (unsigned)code)
                        : modbus_reply(line, request, length, held);
        if (sent == -1)
            return;
    }
}

static void serve_tcp(modbus_mapping_t *held)
{
    modbus_t *line = modbus_new_tcp("127.0.0.1", 0);
    int listening = line == NULL ? -1 : modbus_tcp_listen(line, 1);
    struct sockaddr_in at;
    socklen_t size = sizeof at;
    if (listening == -1 || getsockname(listening, (struct sockaddr *)&at, &size) == -1)
        die("listen");
    printf("ready %d\n", ntohs(at.sin_port));
    fflush(stdout);
    for (;;) {
        if (modbus_tcp_accept(line, &listening) == -1)
            die("accept");
        serve(line, held);
        modbus_close(line);
    }
}

static void serve_rtu(const char *path, int baud, int unit, modbus_mapping_t *held)
{
    /* a pty has no parity, and says so when it is asked for one */
    modbus_t *line = modbus_new_rtu(path, baud, 'N', 8, 1);
    if (line == NULL || modbus_set_slave(line, unit) == -1 || modbus_connect(line) == -1)
        die(path);
    printf("ready 0\n");
    fflush(stdout);
    serve(line, held);
    die("the line is gone");
}

int main(int argc, char **argv)
{
    pthread_t ending;
    if (pthread_create(&ending, NULL, end_with_stdin, NULL) != 0)
        return 1;
    if (argc == 2 && strcmp(argv[1], "tcp") == 0)
        serve_tcp(registers());
    if (argc == 5 && strcmp(argv[1], "rtu") == 0)
        serve_rtu(argv[2], atoi(argv[3]), atoi(argv[4]), registers());
    fprintf(stderr, "usage: slave tcp | slave rtu PATH BAUD UNIT\n");
    return 2;
}
