/*
 * librsvd: what its files share
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _LIBRSVD_PRIVATE_H_
#define _LIBRSVD_PRIVATE_H_

#include "includes.h"
#include "lib/util/tevent_ntstatus.h"
#include "libsmb/libsmb.h"
#include "libcli/smb/smbXcli_base.h"
#include "librpc/gen_ndr/ndr_rsvd.h"
#include "source3/librsvd/librsvd.h"

struct librsvd_ticket;

struct librsvd_conn {
	struct tevent_context *ev;
	uint32_t timeout_msec;
	struct cli_state *cli;

	/* MS-RSVD 3.1.1.1 RequestIdentifier */
	uint64_t request_id;

	/* Requests on the wire, and those that wait for credits, in order. */
	struct librsvd_ticket *in_flight;
	struct librsvd_ticket *waiting;

	struct librsvd_disk *disks;
};

struct librsvd_disk {
	struct librsvd_disk *prev, *next;
	/* NULL after the connection was freed */
	struct librsvd_conn *conn;
	uint64_t fid_persistent;
	uint64_t fid_volatile;
	struct librsvd_open_response response;
};

/* The four arguments that each smb2cli_*_send() has. */
#define LIBRSVD_SMB2(c) \
	(c)->cli->conn, (c)->timeout_msec, \
	(c)->cli->smb2.session, (c)->cli->smb2.tcon

/**
 * Called when a request may be sent, or never will be.
 *
 * @param[in] granted  the payload it may have, with NT_STATUS_OK
 */
typedef void (*librsvd_submit_fn)(void *private_data, NTSTATUS status,
				  uint32_t granted);

/**
 * Wait until the server has granted credits for one request.
 *
 * smb2cli_req_send() fails when there are not enough of them, so everything
 * that is sent on a connection takes a ticket; first come, first served. *fn*
 * has to send at once; it may be called before this function returns. Free
 * the ticket when the request is answered or given up: others wait for it.
 *
 * @param[in]  min_length  the least payload, in either direction, that is of
 *                         use; it is granted when nothing else is in flight
 *                         that could bring more credits
 * @param[in]  length      the payload that is wanted
 * @param[out] ticket      a child of mem_ctx, set before fn is called
 * @return false when out of memory; fn is not called then
 *
 * fn gets NT_STATUS_INSUFFICIENT_RESOURCES when even min_length is beyond
 * what the server grants, or NT_STATUS_CONNECTION_DISCONNECTED.
 *
 * MS-SMB2 3.2.4.1.2, 3.2.4.1.5.
 */
bool librsvd_ticket_take(TALLOC_CTX *mem_ctx, struct librsvd_conn *conn,
			 uint32_t min_length, uint32_t length,
			 librsvd_submit_fn fn, void *private_data,
			 struct librsvd_ticket **ticket);

/** The connection goes: whoever waits for it is told. */
void librsvd_ticket_abandon_all(struct librsvd_conn *conn);

/**
 * Run the loop of the connection until *req* is done; req may be NULL.
 *
 * @return of the waiting, not of the request
 */
NTSTATUS librsvd_wait(struct librsvd_conn *conn, struct tevent_req *req);

/** A FSCTL on a disk, within the credits. */
struct tevent_req *librsvd_fsctl_send(TALLOC_CTX *mem_ctx,
				      struct librsvd_disk *disk,
				      uint32_t ctl_code, DATA_BLOB input,
				      uint32_t max_output);
NTSTATUS librsvd_fsctl_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx,
			    DATA_BLOB *output);

/**
 * A tunnel operation whose payload is one structure.
 *
 * @param[in] payload  the structure for *push*; NULL: no payload
 */
struct tevent_req *librsvd_typed_send(TALLOC_CTX *mem_ctx,
				      struct librsvd_disk *disk,
				      enum librsvd_operation operation,
				      uint32_t flags, const void *payload,
				      ndr_push_flags_fn_t push,
				      size_t max_payload);

/** A tunnel request that could not even be built. */
struct tevent_req *librsvd_failed_send(TALLOC_CTX *mem_ctx,
				       struct librsvd_disk *disk,
				       NTSTATUS status);

/**
 * The structure in the answer. Trailing bytes are not looked at: Windows fills
 * the room it was given (MS-RSVD 6 <19>).
 *
 * @param[out] payload  what *pull* fills; both NULL: none is expected
 * @return the status of the FSCTL, or else that of the header
 */
NTSTATUS librsvd_typed_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx,
			    void *payload, ndr_pull_flags_fn_t pull);

/* Is something set that came in a version of librsvd.h after this one? */
#define LIBRSVD_IS_UNKNOWN(params) \
	(!all_zero((const uint8_t *)(params)->reserved, \
		   sizeof((params)->reserved)))

/** A structure as bytes, and back; ndr errors become NTSTATUS. */
NTSTATUS librsvd_push(TALLOC_CTX *mem_ctx, const void *structure,
		      ndr_push_flags_fn_t push, DATA_BLOB *blob);
NTSTATUS librsvd_pull(TALLOC_CTX *mem_ctx, const DATA_BLOB *blob,
		      void *structure, ndr_pull_flags_fn_t pull);

struct GUID librsvd_guid_to_ndr(const struct librsvd_guid *guid);
struct librsvd_guid librsvd_guid_from_ndr(const struct GUID *guid);

/**
 * Fill the context of an open, MS-RSVD 3.1.4.2.
 *
 * @param[out] blob  a child of mem_ctx
 */
NTSTATUS librsvd_open_context_push(TALLOC_CTX *mem_ctx,
				   const struct librsvd_open_params *params,
				   uint64_t request_id, DATA_BLOB *blob);

/**
 * Take the context of the answer apart.
 *
 * @param[in] blob     NULL: the answer had none
 * @param[in] version  that was asked for
 */
NTSTATUS librsvd_open_context_pull(TALLOC_CTX *mem_ctx, const DATA_BLOB *blob,
				   unsigned int version, uint64_t request_id,
				   struct librsvd_open_response *response);

/**
 * Check a tunnel answer and take its header off.
 *
 * @param[out] payload  points into output
 */
NTSTATUS librsvd_tunnel_parse(const DATA_BLOB *output, uint32_t operation,
			      uint64_t request_id, NTSTATUS *tunnel_status,
			      DATA_BLOB *payload);

/** Check a SCSI answer, MS-RSVD 2.2.4.8; data_in is a child of mem_ctx. */
NTSTATUS librsvd_scsi_parse(TALLOC_CTX *mem_ctx, const DATA_BLOB *payload,
			    uint32_t max_data_in,
			    struct librsvd_scsi_result *result);

/** SVHDX_META_OPERATION_START_REQUEST with its data, MS-RSVD 2.2.4.17. */
NTSTATUS librsvd_meta_operation_push(
	TALLOC_CTX *mem_ctx, const struct librsvd_guid *transaction_id,
	const struct librsvd_meta_operation *operation, DATA_BLOB *blob);

/** What MS-RSVD 2.2.4.20 to 2.2.4.22 answer. */
NTSTATUS librsvd_vhdset_parse(TALLOC_CTX *mem_ctx, const uint8_t *output,
			      size_t length,
			      struct librsvd_vhdset_information *information);

#endif /* _LIBRSVD_PRIVATE_H_ */
