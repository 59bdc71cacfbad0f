/*-------------------------------------------------------------------------
 *
 * frame_test.c
 *		frame.c alone: known bytes, limits, and random input.
 *
 * Built with a sanitizer by run.sh; needs nothing of the server.  Every input
 * lies at the end of a block of its exact size, so that a read beyond it is
 * caught.
 *
 *-------------------------------------------------------------------------
 */
#include "../../src/frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int	failures = 0;

#define CHECK(condition) \
	do { \
		if (!(condition)) \
		{ \
			failures++; \
			printf("frame_test.c:%d: %s\n", __LINE__, #condition); \
		} \
	} while (0)

static uint64_t random_state = 0x9E3779B97F4A7C15ULL;

static uint32_t
next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t) (random_state >> 32);
}

/* Parses a copy of exactly len bytes. */
static PenstockParse
parse(const void *bytes, size_t len, PenstockIncoming *in, size_t *consumed)
{
	uint8_t    *copy = malloc(len ? len : 1);
	PenstockParse result;

	memcpy(copy, bytes, len);
	result = penstock_frame_parse(copy, len, in, consumed);
	if (result == PENSTOCK_PARSE_OK)
	{
		volatile char last = 0;
		size_t		i;

		CHECK(*consumed <= len && *consumed >= PENSTOCK_FRAME_HEADER);
		for (i = 0; i < in->publications_len; i++)
			last = in->publications[i];
		(void) last;
	}
	else
		CHECK(*consumed == 0);
	free(copy);
	return result;
}

static void
known_bytes(void)
{
	static const uint8_t keepalive[] =
	{0, 0, 0, 18, 'K', 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 1};
	static const uint8_t error[] =
	{0, 0, 0, 18, 'E', 0, 7, '2', '2', '0', '1', '2', 0, 0, 0, 1, 'm', 0, 0, 0, 1, 'h'};
	static const uint8_t released[] =
	{0, 0, 0, 9, 'R', 1, 2, 3, 4, 5, 6, 7, 8};
	uint8_t		buf[PENSTOCK_MAX_ERROR_FRAME];
	PenstockHello hello = {0, 1, 2, 150020, 42, 1, 5, 4, 6, 7, "db", "slot", "1.0"};
	char	   *huge = malloc(100000);
	size_t		n;

	n = penstock_frame_keepalive(buf, sizeof(buf), 0x100000002ULL, 3, true);
	CHECK(n == PENSTOCK_KEEPALIVE_SIZE && memcmp(buf, keepalive, n) == 0);
	n = penstock_frame_error(buf, sizeof(buf), 7, "22012", "m", "h");
	CHECK(n == sizeof(error) && memcmp(buf, error, n) == 0);
	n = penstock_frame_released(buf, sizeof(buf), 0x0102030405060708ULL);
	CHECK(n == PENSTOCK_RELEASED_SIZE && memcmp(buf, released, n) == 0);
	n = penstock_frame_hello(buf, sizeof(buf), &hello);
	CHECK(n == 5 + 57 + 4 + 6 + 5 && buf[4] == 'H' && buf[3] == n - 4);
	CHECK(penstock_frame_hello(buf, n - 1, &hello) == 0);
	CHECK(penstock_frame_keepalive(buf, 21, 1, 1, false) == 0);

	/* long texts are cut between characters: the largest error always fits */
	for (n = 0; n < 99999; n++)
		huge[n] = n % 3 == 0 ? '\xE2' : '\x82';
	huge[99999] = '\0';
	n = penstock_frame_error(buf, sizeof(buf), 1, NULL, huge, huge);
	CHECK(n > 0 && n <= sizeof(buf));
	CHECK((buf[14] << 8 | buf[15]) % 3 == 0);
	CHECK(memcmp(buf + 7, "XX000", 5) == 0);
	free(huge);
}

static void
parse_known(void)
{
	static const uint8_t start[] =
	{0, 0, 0, 16, 'S', 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 4, 3, 0, 1, 'p'};
	static const uint8_t ack[] =
	{0, 0, 0, 9, 'A', 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 'P'};
	uint8_t		bad[sizeof(start)];
	PenstockIncoming in;
	size_t		used;
	size_t		i;

	CHECK(parse(start, sizeof(start), &in, &used) == PENSTOCK_PARSE_OK);
	CHECK(used == sizeof(start) && in.type == 'S' && in.protocol == 1 &&
		  in.lsn == 0x100000002ULL && in.proto_version == 4 &&
		  in.flags == 3 && in.publications_len == 1);
	CHECK(parse(ack, sizeof(ack), &in, &used) == PENSTOCK_PARSE_OK);
	CHECK(used == 13 && in.lsn == 9);
	CHECK(parse(ack + 13, 5, &in, &used) == PENSTOCK_PARSE_OK);
	CHECK(used == 5 && in.type == 'P');
	for (i = 0; i < sizeof(start); i++)
		CHECK(parse(start, i, &in, &used) == PENSTOCK_PARSE_MORE);

	memcpy(bad, start, sizeof(start));
	bad[16] = 0x83;				/* an unknown flag */
	CHECK(parse(bad, sizeof(bad), &in, &used) == PENSTOCK_PARSE_MALFORMED);
	memcpy(bad, start, sizeof(start));
	bad[18] = 2;				/* a string beyond its frame */
	CHECK(parse(bad, sizeof(bad), &in, &used) == PENSTOCK_PARSE_MALFORMED);
	memcpy(bad, start, sizeof(start));
	bad[19] = 0;				/* a zero byte in a name */
	CHECK(parse(bad, sizeof(bad), &in, &used) == PENSTOCK_PARSE_MALFORMED);
	CHECK(parse("\0\0\0\0", 4, &in, &used) == PENSTOCK_PARSE_MALFORMED);
	CHECK(parse("\0\0\x40\1", 4, &in, &used) == PENSTOCK_PARSE_TOO_LARGE);
	CHECK(parse("\xff\xff\xff\xff", 4, &in, &used) == PENSTOCK_PARSE_TOO_LARGE);
	CHECK(parse("\0\0\0\1Z", 5, &in, &used) == PENSTOCK_PARSE_UNKNOWN);
	CHECK(parse("\0\0\0\2Px", 6, &in, &used) == PENSTOCK_PARSE_MALFORMED);
}

/* Random bytes behind a plausible beginning. */
static void
parse_random(int rounds)
{
	static const char types[] = "SAQPZHMK";
	uint8_t		bytes[64];
	PenstockIncoming in;
	size_t		used;

	while (rounds-- > 0)
	{
		size_t		len = next_random() % sizeof(bytes);
		size_t		i;

		for (i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t) next_random();
		if (next_random() % 8 != 0)
		{
			memset(bytes, 0, 4);
			bytes[3] = (uint8_t) (next_random() % 48);
			bytes[4] = (uint8_t) types[next_random() % 8];
			if (next_random() % 2)
			{
				bytes[16] &= PENSTOCK_START_ALL_FLAGS;
				bytes[17] = 0;
				bytes[18] = (uint8_t) (bytes[3] - 15);
			}
		}
		(void) parse(bytes, len, &in, &used);
	}
}

int
main(void)
{
	known_bytes();
	parse_known();
	parse_random(2000000);
	printf("frame: %s\n", failures ? "failed" : "passed");
	return failures ? 1 : 0;
}
