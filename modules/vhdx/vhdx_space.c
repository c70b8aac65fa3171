/*
 * vfs_rsvd: who has which MiB of the file
 *
 * Every structure starts at a multiple of 1 MiB and has a multiple of it
 * (MS-VHDX 2.1), so a bit each is enough: 8 MiB for a file of 64 TiB.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/vhdx/vhdx_private.h"

struct vhdx_space {
	uint64_t first;		/* in MiB, as all here */
	uint64_t num;
	uint8_t *bits;
	uint64_t next;		/* vhdx_space_find() goes on there */
};

struct vhdx_space *vhdx_space_new(TALLOC_CTX *mem_ctx, uint64_t base,
				  uint64_t length)
{
	struct vhdx_space *space = NULL;

	space = talloc_zero(mem_ctx, struct vhdx_space);
	if (space == NULL) {
		return NULL;
	}
	space->first = base / VHDX_MIB;
	space->num = (length + VHDX_MIB - 1) / VHDX_MIB;
	space->bits = talloc_zero_array(space, uint8_t, space->num / 8 + 1);
	if (space->bits == NULL) {
		TALLOC_FREE(space);
		return NULL;
	}
	return space;
}

bool vhdx_space_take(struct vhdx_space *space, uint64_t offset,
		     uint64_t length)
{
	uint64_t first = offset / VHDX_MIB;
	uint64_t end = (offset + length + VHDX_MIB - 1) / VHDX_MIB;
	bool was_free = true;
	uint64_t i;

	first = MAX(first, space->first);
	end = MIN(end, space->first + space->num);
	for (i = first; i < end; i++) {
		uint64_t n = i - space->first;
		uint8_t bit = 1 << (n % 8);

		was_free &= (space->bits[n / 8] & bit) == 0;
		space->bits[n / 8] |= bit;
	}
	return was_free;
}

uint64_t vhdx_space_free(const struct vhdx_space *space)
{
	uint64_t num_free = 0;
	uint64_t n;

	for (n = 0; n < space->num; n++) {
		if (n % 8 == 0 && space->bits[n / 8] == 0xff) {
			n += 7;
			continue;
		}
		num_free += (space->bits[n / 8] >> (n % 8) & 1) ? 0 : 1;
	}
	return num_free * VHDX_MIB;
}

bool vhdx_space_find(struct vhdx_space *space, uint64_t length,
		     uint64_t *offset)
{
	uint64_t want = length / VHDX_MIB;
	uint64_t run = 0;
	uint64_t n;

	for (n = space->next; n < space->num && run < want; n++) {
		bool taken = (space->bits[n / 8] >> (n % 8) & 1) != 0;

		run = taken ? 0 : run + 1;
	}
	space->next = n - run;
	if (run < want) {
		return false;
	}
	*offset = (space->first + n - want) * VHDX_MIB;
	return true;
}

bool vhdx_space_next_free(const struct vhdx_space *space, uint64_t *offset,
			  uint64_t *length)
{
	uint64_t n = *offset / VHDX_MIB - space->first;
	uint64_t start;

	for (; n < space->num && (space->bits[n / 8] >> (n % 8) & 1); n++) {
		continue;
	}
	start = n;
	for (; n < space->num && !(space->bits[n / 8] >> (n % 8) & 1); n++) {
		continue;
	}
	*offset = (space->first + start) * VHDX_MIB;
	*length = (n - start) * VHDX_MIB;
	return n > start;
}
