/*
 * vfs_rsvd: GUIDs in their binary form (MS-VHDX 2.2.3.2)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "modules/vhdx/vhdx_private.h"

struct GUID vhdx_guid_pull(const uint8_t *buf)
{
	struct GUID guid = {
		.time_low = PULL_LE_U32(buf, 0),
		.time_mid = PULL_LE_U16(buf, 4),
		.time_hi_and_version = PULL_LE_U16(buf, 6),
	};

	memcpy(guid.clock_seq, buf + 8, sizeof(guid.clock_seq));
	memcpy(guid.node, buf + 10, sizeof(guid.node));
	return guid;
}

void vhdx_guid_push(uint8_t *buf, const struct GUID *guid)
{
	PUSH_LE_U32(buf, 0, guid->time_low);
	PUSH_LE_U16(buf, 4, guid->time_mid);
	PUSH_LE_U16(buf, 6, guid->time_hi_and_version);
	memcpy(buf + 8, guid->clock_seq, sizeof(guid->clock_seq));
	memcpy(buf + 10, guid->node, sizeof(guid->node));
}
