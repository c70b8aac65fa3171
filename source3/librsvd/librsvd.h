/*
 * librsvd: a client for shared virtual disks (MS-RSVD)
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _LIBRSVD_H_
#define _LIBRSVD_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <talloc.h>
#include <tevent.h>
#ifdef _SAMBA_BUILD_
#include "libcli/util/ntstatus.h"
#else
#include <core/ntstatus.h>
#endif

#ifdef __cplusplus
extern "C" {
#endif

/**
 * @file librsvd.h
 *
 * One connection to a share (struct librsvd_conn) carries any number of open
 * disks (struct librsvd_disk). Every operation is a pair of _send and _recv
 * on the tevent context of the connection, and a synchronous function of the
 * same name that runs that context until the operation is done.
 *
 * Memory: every result is a talloc child of the mem_ctx given for it. Freeing
 * a connection ends it and fails what is under way; after that its disks can
 * only be freed. A request on the wire cannot be taken back: freeing one that
 * is not done ends the connection.
 *
 * Threads: a connection belongs to the thread that runs its tevent context.
 * A synchronous function may not be called from a callback of that context.
 *
 * Status: a function returns NT_STATUS_OK or says in an NTSTATUS what went
 * wrong. Besides those named at each function, all of them may return
 *
 *   NT_STATUS_NO_MEMORY
 *   NT_STATUS_IO_TIMEOUT,            no answer within timeout_msec
 *   NT_STATUS_CONNECTION_DISCONNECTED, NT_STATUS_CONNECTION_RESET,
 *   NT_STATUS_NETWORK_NAME_DELETED, NT_STATUS_USER_SESSION_DELETED
 *                                    the connection is gone for good
 *   NT_STATUS_INVALID_NETWORK_RESPONSE
 *                                    the server sent what the protocol
 *                                    forbids; nothing of it is handed out
 *   NT_STATUS_INSUFFICIENT_RESOURCES the server grants too few credits
 *
 * and whatever status the server sends. librsvd_status_string() knows the
 * names of all of them.
 *
 * Units: offsets, sizes and lengths are bytes, unless the name says otherwise.
 *
 * Later versions: a program runs with every later library of the same soname,
 * without being compiled again. Functions stay, with their symbol versions.
 * Structures keep their sizes: what is added takes the place of reserved
 * members. A program zeroes those it fills in, and one that needs what this
 * version does not know gets NT_STATUS_INVALID_PARAMETER; in what it gets they
 * are zero when the library does not know them. Codes may come that are not
 * in an enum here.
 */

/* A GUID as it is on the wire (MS-DTYP 2.3.4.2). */
struct librsvd_guid {
	uint8_t bytes[16];
};

/** Parse "01234567-89ab-cdef-0123-456789abcdef", with or without braces. */
bool librsvd_guid_parse(const char *text, struct librsvd_guid *guid);

/** The text of a GUID, NULL when out of memory. */
char *librsvd_guid_string(TALLOC_CTX *mem_ctx,
			  const struct librsvd_guid *guid);

/** A new, random GUID. */
struct librsvd_guid librsvd_guid_random(void);

/* The status codes of MS-RSVD 2.2.3. */
#define LIBRSVD_STATUS_ERROR_STORED			NT_STATUS(0xC05C0000)
#define LIBRSVD_STATUS_ERROR_NOT_AVAILABLE		NT_STATUS(0xC05CFF00)
#define LIBRSVD_STATUS_UNIT_ATTENTION_AVAILABLE		NT_STATUS(0xC05CFF01)
#define LIBRSVD_STATUS_CAPACITY_DATA_CHANGED		NT_STATUS(0xC05CFF02)
#define LIBRSVD_STATUS_RESERVATIONS_PREEMPTED		NT_STATUS(0xC05CFF03)
#define LIBRSVD_STATUS_RESERVATIONS_RELEASED		NT_STATUS(0xC05CFF04)
#define LIBRSVD_STATUS_REGISTRATIONS_PREEMPTED		NT_STATUS(0xC05CFF05)
#define LIBRSVD_STATUS_OPERATING_DEFINITION_CHANGED	NT_STATUS(0xC05CFF06)
#define LIBRSVD_STATUS_RESERVATION_CONFLICT		NT_STATUS(0xC05CFF07)
#define LIBRSVD_STATUS_WRONG_FILE_TYPE			NT_STATUS(0xC05CFF08)
#define LIBRSVD_STATUS_VERSION_MISMATCH			NT_STATUS(0xC05CFF09)
#define LIBRSVD_STATUS_VHD_SHARED			NT_STATUS(0xC05CFF0A)

/**
 * Does *status* say that the server keeps the sense of the failed request?
 *
 * @param[out] key  what librsvd_srb_status() wants; may be NULL
 */
bool librsvd_status_is_stored(NTSTATUS status, uint8_t *key);

/**
 * The name of a status, those of MS-RSVD 2.2.3 included:
 * "STATUS_SVHDX_ERROR_STORED|7", "NT_STATUS_SHARING_VIOLATION".
 */
char *librsvd_status_string(TALLOC_CTX *mem_ctx, NTSTATUS status);

/*
 * Connections
 */

struct librsvd_conn;
struct cli_credentials;

enum librsvd_setting {
	LIBRSVD_DEFAULT = 0,	/* as smb.conf and the credentials say */
	LIBRSVD_OFF,
	LIBRSVD_DESIRED,	/* when the server can */
	LIBRSVD_REQUIRED,	/* or fail */
};

/** Zero all of it, then set what is needed. */
struct librsvd_connect_params {
	const char *server;	/* host name or address; required */
	const char *share;	/* required */
	uint16_t port;		/* TCP; 0: 445 */

	/*
	 * Who to be: either ready credentials of Samba's libraries, which
	 * stay valid until the connection is made, or the next five. No user
	 * is an anonymous session; when Kerberos is required, it is the one
	 * of the default credential cache.
	 */
	struct cli_credentials *credentials;
	const char *user;
	const char *domain;
	const char *realm;
	const char *password;
	enum librsvd_setting kerberos;

	enum librsvd_setting signing;
	enum librsvd_setting encryption;	/* implies signing */

	/* SMB dialects, 0x0302 or 0x0311; 0: the whole range. */
	uint16_t min_dialect;
	uint16_t max_dialect;

	uint32_t timeout_msec;	/* of each request; 0: one minute */

	/*
	 * smb.conf, read when this process has not loaded one yet. NULL: the
	 * one of the system; it need not exist.
	 */
	const char *config_file;

	void *reserved[8];	/* NULL */
};

/**
 * Connect to a share: TCP, SMB 3.0.2 or 3.1.1, session setup, tree connect.
 *
 * The name of the server is looked up synchronously, everything after that is
 * asynchronous. *params* and what it points to are copied, except for the
 * credentials.
 *
 * @param[in]  ev      stays valid while the connection lives; all that is
 *                     done on the connection runs in it. librsvd_connect()
 *                     takes NULL: one of the connection's own, for a program
 *                     that uses the synchronous functions alone
 * @param[out] conn    a child of mem_ctx
 * @return NT_STATUS_INVALID_PARAMETER   no server or share, unknown dialect
 *         NT_STATUS_BAD_NETWORK_PATH    no such host
 *         NT_STATUS_BAD_NETWORK_NAME    no such share
 *         NT_STATUS_CONNECTION_REFUSED  nobody listens
 *         NT_STATUS_NOT_SUPPORTED       the server has neither SMB 3.0.2 nor
 *                                       3.1.1, or no encryption
 *         NT_STATUS_LOGON_FAILURE, NT_STATUS_ACCESS_DENIED
 *
 * MS-RSVD 2.1, 3.1.4.2.
 */
struct tevent_req *librsvd_connect_send(
	TALLOC_CTX *mem_ctx, struct tevent_context *ev,
	const struct librsvd_connect_params *params);
NTSTATUS librsvd_connect_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx,
			      struct librsvd_conn **conn);
NTSTATUS librsvd_connect(TALLOC_CTX *mem_ctx, struct tevent_context *ev,
			 const struct librsvd_connect_params *params,
			 struct librsvd_conn **conn);

/** Is the connection up, as far as this side knows? */
bool librsvd_conn_is_connected(const struct librsvd_conn *conn);

/** The dialect in use, 0x0302 or 0x0311. */
uint16_t librsvd_conn_dialect(const struct librsvd_conn *conn);

/** Largest data of one READ or WRITE; longer ones are split into such. */
uint32_t librsvd_conn_max_io_size(const struct librsvd_conn *conn);

/*
 * Disks
 */

struct librsvd_disk;

#define LIBRSVD_ORIGINATOR_PVHDPARSER	0x00000001 /* as a SCSI disk */
#define LIBRSVD_ORIGINATOR_VHDMP	0x00000004 /* as a file */

/* MS-RSVD 2.2.6 */
enum librsvd_snapshot_type {
	LIBRSVD_SNAPSHOT_NONE = 0,
	LIBRSVD_SNAPSHOT_VM = 1,
	LIBRSVD_SNAPSHOT_CDP = 3,
	LIBRSVD_SNAPSHOT_WRITEABLE = 4,
};

/** Zero all of it, then set what is needed. */
struct librsvd_open_params {
	/*
	 * UTF-8, from the root of the share, with / or \; ":SharedVirtualDisk"
	 * is appended. Required.
	 */
	const char *path;

	unsigned int version;	/* of the protocol: 1 or 2; 0: 2 */

	/*
	 * The SCSI initiator that this handle is: without one, a SCSI disk
	 * answers no read, write or SCSI command. Two handles with one GUID
	 * are one I_T nexus.
	 */
	const struct librsvd_guid *initiator_id;

	const char *host_name;	/* UTF-8; NULL: this host's */
	uint32_t flags;		/* for the server; 0 */
	uint32_t originator;	/* LIBRSVD_ORIGINATOR_*; 0: PVHDPARSER */

	uint32_t access_mask;	/* MS-SMB2 2.2.13.1; 0: read and write */
	uint32_t share_access;	/* MS-SMB2 2.2.13; 0: read and write */

	/* Do not ask for FILE_NO_INTERMEDIATE_BUFFERING. */
	bool buffered;

	/* Of a VHD set: open this snapshot of it, MS-RSVD 3.1.4.24. */
	const struct librsvd_guid *snapshot_id;

	void *reserved[8];	/* NULL */
};

/** What the server answered to the open. The library makes it: it may grow. */
struct librsvd_open_response {
	unsigned int version;		/* 0: the server sent no context */
	bool has_initiator_id;
	struct librsvd_guid initiator_id;
	uint32_t flags;
	uint32_t originator;
	uint64_t open_request_id;
	const char *host_name;		/* UTF-8 */
	/* version 2 only, else 0 */
	bool properties_initialized;	/* the next four are known */
	uint32_t server_version;
	uint32_t sector_size;
	uint32_t physical_sector_size;
	uint64_t virtual_size;
};

/**
 * Open a shared virtual disk.
 *
 * @param[in]  params  and what it points to are copied
 * @param[out] disk    a child of mem_ctx. Freeing it without
 *                     librsvd_close() leaves it open on the server until the
 *                     connection ends
 * @return NT_STATUS_INVALID_PARAMETER     no path, unknown version, host name
 *                                         longer than 63 UTF-16 units
 *         NT_STATUS_OBJECT_NAME_NOT_FOUND no such file, or the server knows
 *                                         nothing of shared virtual disks
 *         NT_STATUS_NOT_SUPPORTED         a version 2 open was answered
 *                                         without a context
 *         NT_STATUS_SHARING_VIOLATION     somebody has the file open in a way
 *                                         that does not go with this
 *         NT_STATUS_FILE_CORRUPT_ERROR    not an image the server can read
 *         LIBRSVD_STATUS_VHD_SHARED       VHDMP, and it is in use as a disk
 *
 * MS-RSVD 3.1.4.2, 3.1.4.24, 3.1.5.1.
 */
struct tevent_req *librsvd_open_send(TALLOC_CTX *mem_ctx,
				     struct librsvd_conn *conn,
				     const struct librsvd_open_params *params);
NTSTATUS librsvd_open_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx,
			   struct librsvd_disk **disk);
NTSTATUS librsvd_open(TALLOC_CTX *mem_ctx, struct librsvd_conn *conn,
		      const struct librsvd_open_params *params,
		      struct librsvd_disk **disk);

/** What the server answered to the open; lives as long as the disk. */
const struct librsvd_open_response *librsvd_disk_open_response(
	const struct librsvd_disk *disk);

/**
 * Close a disk. The server forgets the handle whatever this returns; *disk*
 * is still to be freed. All its requests have to be done before.
 *
 * MS-RSVD 3.1.4.3.
 */
struct tevent_req *librsvd_close_send(TALLOC_CTX *mem_ctx,
				      struct librsvd_disk *disk);
NTSTATUS librsvd_close_recv(struct tevent_req *req);
NTSTATUS librsvd_close(struct librsvd_disk *disk);

/**
 * Read from the virtual disk. Any length: it is split into requests that the
 * server accepts, and these are sent at once as far as its credits go.
 *
 * @param[in]  offset, length  multiples of the sector size
 * @param[out] buf             length bytes, the caller's until _recv
 * @param[out] nread           less than length only at the end of the disk;
 *                             may be NULL
 * @return NT_STATUS_END_OF_FILE   offset is at or past the end
 *         NT_STATUS_ACCESS_DENIED not opened for reading
 *         LIBRSVD_STATUS_ERROR_STORED|key, see librsvd_sense_of_status()
 *         LIBRSVD_STATUS_RESERVATION_CONFLICT
 *
 * When one of the requests fails the contents of buf are undefined.
 *
 * MS-RSVD 3.1.4.4, 3.1.5.3.
 */
struct tevent_req *librsvd_read_send(TALLOC_CTX *mem_ctx,
				     struct librsvd_disk *disk,
				     void *buf, size_t length,
				     uint64_t offset);
NTSTATUS librsvd_read_recv(struct tevent_req *req, size_t *nread);
NTSTATUS librsvd_read(struct librsvd_disk *disk, void *buf, size_t length,
		      uint64_t offset, size_t *nread);

/* On stable storage before it is acknowledged. */
#define LIBRSVD_WRITE_THROUGH 0x1

/**
 * Write to the virtual disk. Split as a read is; when one of the requests
 * fails, any part of the range may have been written.
 *
 * @param[in]  offset, length  multiples of the sector size
 * @param[in]  buf             the caller's until _recv
 * @param[in]  flags           LIBRSVD_WRITE_*
 * @return NT_STATUS_ACCESS_DENIED not opened for writing
 *         LIBRSVD_STATUS_ERROR_STORED|key, see librsvd_sense_of_status()
 *         LIBRSVD_STATUS_RESERVATION_CONFLICT
 *
 * MS-RSVD 3.1.4.5, 3.1.5.4.
 */
struct tevent_req *librsvd_write_send(TALLOC_CTX *mem_ctx,
				      struct librsvd_disk *disk,
				      const void *buf, size_t length,
				      uint64_t offset, uint32_t flags);
NTSTATUS librsvd_write_recv(struct tevent_req *req);
NTSTATUS librsvd_write(struct librsvd_disk *disk, const void *buf,
		       size_t length, uint64_t offset, uint32_t flags);

/** Put what was written before on stable storage. MS-SMB2 2.2.17. */
struct tevent_req *librsvd_flush_send(TALLOC_CTX *mem_ctx,
				      struct librsvd_disk *disk);
NTSTATUS librsvd_flush_recv(struct tevent_req *req);
NTSTATUS librsvd_flush(struct librsvd_disk *disk);

/*
 * The tunnel
 *
 * The typed functions below return the Status of the response's header when
 * the server put one there, else that of the request.
 */

/* MS-RSVD 2.2.2 */
enum librsvd_operation {
	LIBRSVD_GET_INITIAL_INFO		= 0x02001001,
	LIBRSVD_SCSI				= 0x02001002,
	LIBRSVD_CHECK_CONNECTION_STATUS		= 0x02001003,
	LIBRSVD_SRB_STATUS			= 0x02001004,
	LIBRSVD_GET_DISK_INFO			= 0x02001005,
	LIBRSVD_VALIDATE_DISK			= 0x02001006,
	LIBRSVD_META_OPERATION_START		= 0x02002101,
	LIBRSVD_META_OPERATION_QUERY_PROGRESS	= 0x02002002,
	LIBRSVD_VHDSET_QUERY_INFORMATION	= 0x02002005,
	LIBRSVD_DELETE_SNAPSHOT			= 0x02002006,
	LIBRSVD_CHANGE_TRACKING_GET_PARAMETERS	= 0x02002008,
	LIBRSVD_CHANGE_TRACKING_START		= 0x02002009,
	LIBRSVD_CHANGE_TRACKING_STOP		= 0x0200200A,
	LIBRSVD_QUERY_VIRTUAL_DISK_CHANGES	= 0x0200200C,
	LIBRSVD_QUERY_SAFE_SIZE			= 0x0200200D,
};

/* Use FSCTL_SVHDX_ASYNC_TUNNEL_REQUEST, as for meta-operations. */
#define LIBRSVD_TUNNEL_ASYNC 0x1

/**
 * Send any operation through the tunnel.
 *
 * @param[in]  operation      OperationCode; need not be one that we know
 * @param[in]  flags          LIBRSVD_TUNNEL_*
 * @param[in]  payload        what follows the header; copied
 * @param[in]  max_output     room for the answer, header included
 * @param[out] tunnel_status  Status of the answer's header
 * @param[out] output         what follows the header of the answer, a child
 *                            of mem_ctx; NULL when there is nothing
 * @return the status of the FSCTL
 *
 * MS-RSVD 2.2.4.11, 3.1.4.1.
 */
struct tevent_req *librsvd_tunnel_send(TALLOC_CTX *mem_ctx,
				       struct librsvd_disk *disk,
				       uint32_t operation, uint32_t flags,
				       const uint8_t *payload,
				       size_t payload_length,
				       uint32_t max_output);
NTSTATUS librsvd_tunnel_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx,
			     NTSTATUS *tunnel_status, uint8_t **output,
			     size_t *output_length);
NTSTATUS librsvd_tunnel(TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
			uint32_t operation, uint32_t flags,
			const uint8_t *payload, size_t payload_length,
			uint32_t max_output, NTSTATUS *tunnel_status,
			uint8_t **output, size_t *output_length);

/* A VHDX has 512 or 4096; NBD has room for up to 64 KiB. */
#define LIBRSVD_MIN_SECTOR_SIZE 512
#define LIBRSVD_MAX_SECTOR_SIZE 65536

/** MS-RSVD 2.2.4.14 */
struct librsvd_initial_info {
	uint32_t server_version;
	uint32_t sector_size;	/* a power of two, within the above */
	uint32_t physical_sector_size;
	uint64_t virtual_size;
	uint64_t reserved[4];	/* 0 */
};

/** Ask what the disk is. MS-RSVD 3.1.4.6. */
struct tevent_req *librsvd_initial_info_send(TALLOC_CTX *mem_ctx,
					     struct librsvd_disk *disk);
NTSTATUS librsvd_initial_info_recv(struct tevent_req *req,
				   struct librsvd_initial_info *info);
NTSTATUS librsvd_initial_info(struct librsvd_disk *disk,
			      struct librsvd_initial_info *info);

/** Ask whether the server still serves this handle. MS-RSVD 3.1.4.7. */
struct tevent_req *librsvd_check_connection_send(TALLOC_CTX *mem_ctx,
						 struct librsvd_disk *disk);
NTSTATUS librsvd_check_connection_recv(struct tevent_req *req);
NTSTATUS librsvd_check_connection(struct librsvd_disk *disk);

/* MS-RSVD 2.2.5 */
#define LIBRSVD_SRB_PENDING		0x00
#define LIBRSVD_SRB_SUCCESS		0x01
#define LIBRSVD_SRB_ABORTED		0x02
#define LIBRSVD_SRB_ERROR		0x04
#define LIBRSVD_SRB_INVALID_REQUEST	0x06
#define LIBRSVD_SRB_NO_DEVICE		0x08
#define LIBRSVD_SRB_SELECTION_TIMEOUT	0x0A
#define LIBRSVD_SRB_DATA_OVERRUN	0x12

#define LIBRSVD_MAX_SENSE 20

/** How a SCSI command, or a read or write, ended. */
struct librsvd_sense {
	uint8_t srb_status;	/* LIBRSVD_SRB_* */
	uint8_t scsi_status;	/* SAM-5 5.3.1; 0: GOOD */
	bool auto_generated;	/* the sense is the disk's */
	uint8_t length;
	uint8_t data[LIBRSVD_MAX_SENSE];
	uint64_t reserved[4];	/* 0 */
};

/**
 * Ask for the sense of a request that failed.
 *
 * @param[in]  key  the low byte of its status
 * @return LIBRSVD_STATUS_ERROR_NOT_AVAILABLE  no such key, or too old
 *
 * MS-RSVD 2.2.4.4, 3.1.5.3.
 */
struct tevent_req *librsvd_srb_status_send(TALLOC_CTX *mem_ctx,
					   struct librsvd_disk *disk,
					   uint8_t key);
NTSTATUS librsvd_srb_status_recv(struct tevent_req *req,
				 struct librsvd_sense *sense);
NTSTATUS librsvd_srb_status(struct librsvd_disk *disk, uint8_t key,
			    struct librsvd_sense *sense);

/**
 * Fetch the sense that belongs to the status of a read or write on this disk.
 *
 * @return NT_STATUS_INVALID_PARAMETER  status is no ERROR_STORED|key
 *         LIBRSVD_STATUS_ERROR_NOT_AVAILABLE
 */
NTSTATUS librsvd_sense_of_status(struct librsvd_disk *disk, NTSTATUS status,
				 struct librsvd_sense *sense);

/**
 * Sense data in words: "ILLEGAL REQUEST, invalid field in CDB (05/24/00)".
 * Fixed and descriptor format (SPC-4 4.5).
 */
char *librsvd_sense_string(TALLOC_CTX *mem_ctx, const uint8_t *sense,
			   size_t length);

/** "GOOD", "CHECK CONDITION", ...; never NULL. SAM-5 5.3.1. */
const char *librsvd_scsi_status_string(uint8_t scsi_status);

enum librsvd_disk_type {
	LIBRSVD_DISK_FIXED = 2,
	LIBRSVD_DISK_DYNAMIC = 3,
};

enum librsvd_disk_format {
	LIBRSVD_FORMAT_VHDX = 3,
	LIBRSVD_FORMAT_VHDSET = 4,
};

/** MS-RSVD 2.2.4.6 */
struct librsvd_disk_info {
	uint32_t type;		/* enum librsvd_disk_type */
	uint32_t format;	/* enum librsvd_disk_format */
	uint32_t block_size;	/* 0 for a fixed disk */
	struct librsvd_guid linkage_id;
	bool is_mounted;
	bool is_4k_aligned;
	uint64_t file_size;
	struct librsvd_guid virtual_disk_id;
	uint64_t reserved[4];	/* 0 */
};

/** Ask what the file below is. MS-RSVD 3.1.4.8. */
struct tevent_req *librsvd_disk_info_send(TALLOC_CTX *mem_ctx,
					  struct librsvd_disk *disk);
NTSTATUS librsvd_disk_info_recv(struct tevent_req *req,
				struct librsvd_disk_info *info);
NTSTATUS librsvd_disk_info(struct librsvd_disk *disk,
			   struct librsvd_disk_info *info);

/** Ask whether the image is valid. MS-RSVD 3.1.4.10. */
struct tevent_req *librsvd_validate_send(TALLOC_CTX *mem_ctx,
					 struct librsvd_disk *disk);
NTSTATUS librsvd_validate_recv(struct tevent_req *req, bool *is_valid);
NTSTATUS librsvd_validate(struct librsvd_disk *disk, bool *is_valid);

#define LIBRSVD_MAX_CDB 16

/** One SCSI command. Zero all of it, then set what is needed. */
struct librsvd_scsi_command {
	const uint8_t *cdb;
	size_t cdb_length;		/* 1 to LIBRSVD_MAX_CDB */
	/* Either data out, or data in, or neither. */
	const uint8_t *data_out;
	uint32_t data_out_length;
	uint32_t data_in_length;	/* room for what the disk sends */
	void *reserved[8];		/* NULL */
};

/** How it ended. The command itself failing is no failure of the call. */
struct librsvd_scsi_result {
	struct librsvd_sense sense;	/* scsi_status and all */
	uint8_t *data_in;
	uint32_t data_in_length;	/* what the disk really sent */
	uint64_t reserved[4];		/* 0 */
};

/**
 * Execute a SCSI command.
 *
 * @param[in]  command  and its buffers are copied
 * @param[out] result   data_in is a child of mem_ctx
 * @return NT_STATUS_INVALID_PARAMETER  the CDB is too long, or there is data
 *                                      in both directions
 *         NT_STATUS_INVALID_HANDLE     opened without initiator GUID
 *
 * MS-RSVD 2.2.4.7, 2.2.4.8, 3.1.4.9.
 */
struct tevent_req *librsvd_scsi_send(
	TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
	const struct librsvd_scsi_command *command);
NTSTATUS librsvd_scsi_recv(struct tevent_req *req, TALLOC_CTX *mem_ctx,
			   struct librsvd_scsi_result *result);
NTSTATUS librsvd_scsi(TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
		      const struct librsvd_scsi_command *command,
		      struct librsvd_scsi_result *result);

enum librsvd_handle_state {
	LIBRSVD_HANDLE_NONE = 0,
	LIBRSVD_HANDLE_FILE_SHARED = 1,
	LIBRSVD_HANDLE_SHARED = 3,
};

/** MS-RSVD 2.2.4.16 */
struct librsvd_support {
	uint32_t support;	/* 1: disks; 7: snapshots too */
	uint32_t handle_state;	/* enum librsvd_handle_state */
	uint64_t reserved[4];	/* 0 */
};

/**
 * Ask what the server can and what this handle is.
 * FSCTL_QUERY_SHARED_VIRTUAL_DISK_SUPPORT, MS-RSVD 3.1.4.11.
 *
 * @return NT_STATUS_INVALID_DEVICE_REQUEST  it cannot
 */
struct tevent_req *librsvd_query_support_send(TALLOC_CTX *mem_ctx,
					struct librsvd_disk *disk);
NTSTATUS librsvd_query_support_recv(struct tevent_req *req,
			      struct librsvd_support *support);
NTSTATUS librsvd_query_support(struct librsvd_disk *disk,
			       struct librsvd_support *support);

/*
 * Version 2: meta-operations, VHD sets, snapshots, change tracking
 */

/* MS-RSVD 2.2.4.17 */
enum librsvd_meta_operation_type {
	LIBRSVD_META_RESIZE = 0,
	LIBRSVD_META_CREATE_SNAPSHOT = 1,
	LIBRSVD_META_OPTIMIZE = 2,
	LIBRSVD_META_EXTRACT = 3,
	LIBRSVD_META_CONVERT_TO_VHDSET = 4,
	LIBRSVD_META_APPLY_SNAPSHOT = 5,
};

/* MS-RSVD 2.2.4.17.1 */
enum librsvd_snapshot_stage {
	LIBRSVD_STAGE_INVALID = 0,
	LIBRSVD_STAGE_INITIALIZE = 1,
	LIBRSVD_STAGE_BLOCK_IO = 2,
	LIBRSVD_STAGE_SWITCH_OBJECT_STORE = 3,
	LIBRSVD_STAGE_UNBLOCK_IO = 4,
	LIBRSVD_STAGE_FINALIZE = 5,
};

#define LIBRSVD_SNAPSHOT_ENABLE_CHANGE_TRACKING	0x1
#define LIBRSVD_EXTRACT_DELETE_ON_CLOSE		0x1

/** Zero all of it, then set type and the member of that name. */
struct librsvd_meta_operation {
	enum librsvd_meta_operation_type type;
	struct {
		uint64_t new_size;
		bool expand_only;
		bool allow_unsafe_virtual_size;
		bool shrink_to_minimum_safe_size;
	} resize;
	struct {
		enum librsvd_snapshot_type snapshot_type;
		uint32_t flags;		/* LIBRSVD_SNAPSHOT_* */
		enum librsvd_snapshot_stage stages[6];
		struct librsvd_guid snapshot_id;
		struct librsvd_guid log_file_id; /* of a CDP snapshot */
	} create_snapshot;
	struct {
		enum librsvd_snapshot_type snapshot_type;
		uint32_t flags;		/* LIBRSVD_EXTRACT_* */
		struct librsvd_guid source_snapshot_id;
		struct librsvd_guid source_limit_snapshot_id; /* or zero */
		const char *destination; /* UTF-8 */
	} extract;
	struct {
		const char *destination; /* UTF-8, ends in .vhds */
	} convert_to_vhdset;
	struct {
		enum librsvd_snapshot_type snapshot_type;
		struct librsvd_guid snapshot_id;
	} apply_snapshot;
	void *reserved[16];	/* NULL */
};

/**
 * Start a meta-operation. The answer comes when it is done, which may take
 * long: give the connection a large timeout_msec, and follow it with
 * librsvd_meta_progress() on the same or another handle.
 *
 * @param[in]  transaction_id  a new GUID for each
 * @param[out] change_tracking_status  0 unless it was a CDP snapshot;
 *                             may be NULL. MS-RSVD 2.2.4.18
 * @return NT_STATUS_INVALID_PARAMETER and _1 to _6: what the server finds
 *         NT_STATUS_INVALID_DEVICE_REQUEST  not a VHD set
 *
 * MS-RSVD 3.1.4.12 to 3.1.4.17, 3.1.4.25.
 */
struct tevent_req *librsvd_meta_operation_send(
	TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
	const struct librsvd_guid *transaction_id,
	const struct librsvd_meta_operation *operation);
NTSTATUS librsvd_meta_operation_recv(struct tevent_req *req,
				     uint32_t *change_tracking_status);
NTSTATUS librsvd_meta_operation(struct librsvd_disk *disk,
				const struct librsvd_guid *transaction_id,
				const struct librsvd_meta_operation *operation,
				uint32_t *change_tracking_status);

/** How far a meta-operation is: current of complete. MS-RSVD 3.1.4.18. */
struct tevent_req *librsvd_meta_progress_send(
	TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
	const struct librsvd_guid *transaction_id);
NTSTATUS librsvd_meta_progress_recv(struct tevent_req *req, uint64_t *current,
				    uint64_t *complete);
NTSTATUS librsvd_meta_progress(struct librsvd_disk *disk,
			       const struct librsvd_guid *transaction_id,
			       uint64_t *current, uint64_t *complete);

/* MS-RSVD 2.2.4.19 */
enum librsvd_vhdset_information_type {
	LIBRSVD_VHDSET_SNAPSHOT_LIST = 0x2,
	LIBRSVD_VHDSET_SNAPSHOT_ENTRY = 0x5,
	LIBRSVD_VHDSET_OPTIMIZE_NEEDED = 0x8,
	LIBRSVD_VHDSET_CDP_SNAPSHOT_ROOT = 0x9,
	LIBRSVD_VHDSET_CDP_SNAPSHOT_ACTIVE_LIST = 0xA,
	LIBRSVD_VHDSET_CDP_SNAPSHOT_INACTIVE_LIST = 0xC,
};

/** The members that belong to the type are set, all else is zero. */
struct librsvd_vhdset_information {
	enum librsvd_vhdset_information_type type;
	/* the lists, and the root as a list of one */
	bool complete;
	uint32_t num_snapshots;
	struct librsvd_guid *snapshot_ids;
	/* one snapshot */
	uint64_t creation_time;		/* msec since 1970 */
	enum librsvd_snapshot_type snapshot_type;
	bool is_valid;
	struct librsvd_guid snapshot_id;
	struct librsvd_guid parent_snapshot_id;
	struct librsvd_guid log_file_id;
	/* whether to optimize */
	bool optimize_needed;
	uint64_t reserved[8];	/* 0 */
};

/**
 * Ask about a VHD set.
 *
 * @param[in]  snapshot_type  as MS-RSVD 3.2.5.5.9 wants it for the type
 * @param[in]  snapshot_id    of SNAPSHOT_ENTRY, else NULL
 * @param[out] information    snapshot_ids is a child of mem_ctx
 * @return NT_STATUS_INVALID_DEVICE_REQUEST  not a VHD set
 *
 * MS-RSVD 3.1.4.19.
 */
struct tevent_req *librsvd_vhdset_query_send(
	TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
	enum librsvd_vhdset_information_type type,
	enum librsvd_snapshot_type snapshot_type,
	const struct librsvd_guid *snapshot_id);
NTSTATUS librsvd_vhdset_query_recv(
	struct tevent_req *req, TALLOC_CTX *mem_ctx,
	struct librsvd_vhdset_information *information);
NTSTATUS librsvd_vhdset_query(TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
			      enum librsvd_vhdset_information_type type,
			      enum librsvd_snapshot_type snapshot_type,
			      const struct librsvd_guid *snapshot_id,
			      struct librsvd_vhdset_information *information);

/** Delete a snapshot. MS-RSVD 2.2.4.26, 3.1.4.20. */
struct tevent_req *librsvd_delete_snapshot_send(
	TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
	const struct librsvd_guid *snapshot_id,
	enum librsvd_snapshot_type snapshot_type, bool persist_reference);
NTSTATUS librsvd_delete_snapshot_recv(struct tevent_req *req);
NTSTATUS librsvd_delete_snapshot(struct librsvd_disk *disk,
				 const struct librsvd_guid *snapshot_id,
				 enum librsvd_snapshot_type snapshot_type,
				 bool persist_reference);

/** Ask for the state of change tracking. MS-RSVD 2.2.4.25, 3.1.4.21. */
struct tevent_req *librsvd_change_tracking_get_send(TALLOC_CTX *mem_ctx,
						    struct librsvd_disk *disk);
NTSTATUS librsvd_change_tracking_get_recv(struct tevent_req *req,
					  uint32_t *change_tracking_status,
					  uint64_t *log_file_size);
NTSTATUS librsvd_change_tracking_get(struct librsvd_disk *disk,
				     uint32_t *change_tracking_status,
				     uint64_t *log_file_size);

/** Zero all of it, then set what is needed. MS-RSVD 2.2.4.27 */
struct librsvd_change_tracking_params {
	struct librsvd_guid transaction_id;
	struct librsvd_guid log_file_id;
	uint64_t max_log_file_size;	/* 0: no limit */
	bool append_data;
	void *reserved[8];		/* NULL */
};

/** Start change tracking. MS-RSVD 3.1.4.22. */
struct tevent_req *librsvd_change_tracking_start_send(
	TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
	const struct librsvd_change_tracking_params *params);
NTSTATUS librsvd_change_tracking_start_recv(struct tevent_req *req);
NTSTATUS librsvd_change_tracking_start(
	struct librsvd_disk *disk,
	const struct librsvd_change_tracking_params *params);

/** Stop change tracking. MS-RSVD 2.2.4.30, 3.1.4.23. */
struct tevent_req *librsvd_change_tracking_stop_send(TALLOC_CTX *mem_ctx,
						     struct librsvd_disk *disk);
NTSTATUS librsvd_change_tracking_stop_recv(struct tevent_req *req,
					   uint32_t *change_tracking_status);
NTSTATUS librsvd_change_tracking_stop(struct librsvd_disk *disk,
				      uint32_t *change_tracking_status);

/** MS-RSVD 2.2.4.39 */
struct librsvd_range {
	uint64_t offset;
	uint64_t length;
};

/**
 * Ask what changed between two snapshots.
 *
 * @param[in]  max_ranges  room to ask for; the server stops when it is full
 * @param[out] processed   bytes from offset on that the ranges speak of; go
 *                         on from there
 * @param[out] ranges      a child of mem_ctx
 *
 * MS-RSVD 2.2.4.37, 2.2.4.38, 3.1.4.26.
 */
struct tevent_req *librsvd_query_changes_send(
	TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
	const struct librsvd_guid *target_snapshot_id,
	const struct librsvd_guid *limit_snapshot_id,
	uint64_t offset, uint64_t length, uint32_t max_ranges);
NTSTATUS librsvd_query_changes_recv(struct tevent_req *req,
				    TALLOC_CTX *mem_ctx, uint64_t *processed,
				    struct librsvd_range **ranges,
				    size_t *num_ranges);
NTSTATUS librsvd_query_changes(TALLOC_CTX *mem_ctx, struct librsvd_disk *disk,
			       const struct librsvd_guid *target_snapshot_id,
			       const struct librsvd_guid *limit_snapshot_id,
			       uint64_t offset, uint64_t length,
			       uint32_t max_ranges, uint64_t *processed,
			       struct librsvd_range **ranges,
			       size_t *num_ranges);

/** The smallest size the disk can shrink to. MS-RSVD 2.2.4.40, 3.1.4.27. */
struct tevent_req *librsvd_safe_size_send(TALLOC_CTX *mem_ctx,
					  struct librsvd_disk *disk);
NTSTATUS librsvd_safe_size_recv(struct tevent_req *req, uint64_t *size);
NTSTATUS librsvd_safe_size(struct librsvd_disk *disk, uint64_t *size);

#ifdef __cplusplus
}
#endif

#endif /* _LIBRSVD_H_ */
