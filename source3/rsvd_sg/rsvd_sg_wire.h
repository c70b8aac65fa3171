/*
 * vfs_rsvd: what a program's preloaded library says to its rsvd-sg
 *
 * One connection of a Unix socket carries one command and its answer, so that
 * a program may fork, and its children send commands, too. Both ends are of
 * one build.
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _RSVD_SG_WIRE_H_
#define _RSVD_SG_WIRE_H_

#include <stdint.h>

/* The variable of the environment that names the socket */
#define RSVD_SG_SOCKET "RSVD_SG_SOCKET"
/* And the one that says how many paths there are */
#define RSVD_SG_PATHS "RSVD_SG_PATHS"

/* The longest CDB that RSVD carries: MS-RSVD 2.2.4.7 */
#define RSVD_SG_CDB_SIZE 16

struct rsvd_sg_request {
	uint32_t path;
	uint32_t data_length;
	uint8_t is_write;	/* data_length bytes follow */
	uint8_t is_read;	/* there is room for as many */
	uint8_t cdb_length;	/* 0: only say whether there is this path */
	uint8_t cdb[RSVD_SG_CDB_SIZE];
};

struct rsvd_sg_response {
	int32_t error;		/* errno; with one the rest is zero */
	uint32_t transferred;	/* of a read, as many bytes follow */
	uint8_t status;
	uint8_t sense_length;
	uint8_t sense[20];	/* MS-RSVD 2.2.1 */
};

#endif /* _RSVD_SG_WIRE_H_ */
