/*
 * rsvdctl: the counters of I/O that each smbd process keeps for its opens
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _RSVDCTL_COUNTERS_H_
#define _RSVDCTL_COUNTERS_H_

#include "librpc/gen_ndr/file_id.h"
#include "librpc/gen_ndr/rsvd_counters.h"
#include "librpc/gen_ndr/server_id.h"

struct messaging_context;
struct rsvdctl_counters;

/** NULL when out of memory. */
struct rsvdctl_counters *rsvdctl_counters_init(
	TALLOC_CTX *mem_ctx, struct messaging_context *msg_ctx);

/** A process to ask, any number of times; false when out of memory. */
bool rsvdctl_counters_add(struct rsvdctl_counters *counters,
			  const struct server_id *id);

/** Ask all of them, and wait, but not long for those that do not answer. */
void rsvdctl_counters_ask(struct rsvdctl_counters *counters);

/** Those of one open, or NULL: its process did not answer. */
const struct rsvd_io_counters *rsvdctl_counters_get(
	struct rsvdctl_counters *counters, const struct server_id *id,
	const struct file_id *file_id, uint64_t open_id);

#endif /* _RSVDCTL_COUNTERS_H_ */
