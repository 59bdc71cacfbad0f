#include "CStoreSupport.h"

#include <pthread.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif
#endif

typedef uint32_t (*crc_function)(uint32_t, const void *, size_t);

static uint32_t table[8][256];
static crc_function chosen;
static int hardware;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint32_t by_table(uint32_t crc, const void *bytes, size_t length)
{
	const uint8_t *p = bytes;

	crc = ~crc;
	while (length >= 8)
	{
		uint32_t low = crc ^ ((uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24);

		crc = table[7][low & 0xff] ^ table[6][(low >> 8) & 0xff] ^ table[5][(low >> 16) & 0xff] ^ table[4][low >> 24] ^
			table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
		p += 8;
		length -= 8;
	}
	while (length-- > 0)
		crc = table[0][(crc ^ *p++) & 0xff] ^ (crc >> 8);
	return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const void *bytes, size_t length)
{
	const uint8_t *p = bytes;
	uint64_t state = (uint32_t) ~crc;

	while (length >= 8)
	{
		uint64_t word;

		memcpy(&word, p, 8);
		state = _mm_crc32_u64(state, word);
		p += 8;
		length -= 8;
	}
	while (length-- > 0)
		state = _mm_crc32_u8((uint32_t) state, *p++);
	return ~(uint32_t) state;
}

static int has_instruction(void)
{
	return __builtin_cpu_supports("sse4.2") != 0;
}
#elif defined(__aarch64__)
__attribute__((target("crc"))) static uint32_t by_instruction(uint32_t crc, const void *bytes, size_t length)
{
	const uint8_t *p = bytes;
	uint32_t state = ~crc;

	while (length >= 8)
	{
		uint64_t word;

		memcpy(&word, p, 8);
		state = __crc32cd(state, word);
		p += 8;
		length -= 8;
	}
	while (length-- > 0)
		state = __crc32cb(state, *p++);
	return ~state;
}

static int has_instruction(void)
{
#if defined(__linux__)
	return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#else
	return 1;
#endif
}
#endif

static void choose(void)
{
	for (uint32_t i = 0; i < 256; i++)
	{
		uint32_t crc = i;

		for (int bit = 0; bit < 8; bit++)
			crc = (crc & 1) ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
		table[0][i] = crc;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (int t = 1; t < 8; t++)
			table[t][i] = table[0][table[t - 1][i] & 0xff] ^ (table[t - 1][i] >> 8);
	chosen = by_table;
#if defined(__x86_64__) || defined(__aarch64__)
	if (has_instruction())
	{
		chosen = by_instruction;
		hardware = 1;
	}
#endif
}

uint32_t penstock_crc32c(uint32_t crc, const void *bytes, size_t length)
{
	pthread_once(&once, choose);
	return chosen(crc, bytes, length);
}

uint32_t penstock_crc32c_portable(uint32_t crc, const void *bytes, size_t length)
{
	pthread_once(&once, choose);
	return by_table(crc, bytes, length);
}

int penstock_crc32c_is_hardware(void)
{
	pthread_once(&once, choose);
	return hardware;
}
