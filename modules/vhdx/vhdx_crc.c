/*
 * vfs_rsvd: CRC-32C (MS-VHDX 2)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include <isa-l/crc.h>
#include "modules/vhdx/vhdx_private.h"

/* crc32_iscsi() takes an int. */
#define CRC_PIECE (1 << 30)

uint32_t vhdx_crc32c(uint32_t crc, const void *buf, size_t length)
{
	/* It does not change the buffer, though it does not say so. */
	unsigned char *p = discard_const_p(unsigned char, buf);

	/* ISA-L leaves the inversions before and after to the caller. */
	crc = ~crc;
	while (length > 0) {
		size_t piece = MIN(length, CRC_PIECE);

		crc = crc32_iscsi(p, piece, crc);
		p += piece;
		length -= piece;
	}
	return ~crc;
}

uint32_t vhdx_checksum(const uint8_t *buf, size_t length,
		       size_t checksum_offset)
{
	static const uint8_t zeros[4];
	size_t rest = checksum_offset + sizeof(zeros);
	uint32_t crc;

	crc = vhdx_crc32c(0, buf, checksum_offset);
	crc = vhdx_crc32c(crc, zeros, sizeof(zeros));
	return vhdx_crc32c(crc, buf + rest, length - rest);
}

void vhdx_checksum_push(uint8_t *buf, size_t length, size_t checksum_offset)
{
	/* PUSH_LE_U32() would compute it four times. */
	uint32_t crc = vhdx_checksum(buf, length, checksum_offset);

	PUSH_LE_U32(buf, checksum_offset, crc);
}
