/*
 * vfs_rsvd: the SCSI device server, what its files share
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#ifndef _SCSI_PRIVATE_H_
#define _SCSI_PRIVATE_H_

#include "modules/scsi/scsi.h"

/* Sense keys: SPC-4 4.5.6 */
#define SCSI_SENSE_NO_SENSE		0x0
#define SCSI_SENSE_NOT_READY		0x2
#define SCSI_SENSE_MEDIUM_ERROR		0x3
#define SCSI_SENSE_HARDWARE_ERROR	0x4
#define SCSI_SENSE_ILLEGAL_REQUEST	0x5
#define SCSI_SENSE_UNIT_ATTENTION	0x6
#define SCSI_SENSE_DATA_PROTECT		0x7
#define SCSI_SENSE_COPY_ABORTED		0xa
#define SCSI_SENSE_ABORTED_COMMAND	0xb
#define SCSI_SENSE_MISCOMPARE		0xe

/* ASC << 8 | ASCQ: SPC-4, ASC and ASCQ assignments */
#define SCSI_ASC_NO_ADDITIONAL_SENSE		0x0000
#define SCSI_ASC_SANITIZE_IN_PROGRESS		0x041b
#define SCSI_ASC_WRITE_ERROR			0x0c00
#define SCSI_ASC_COPY_TARGET_DEVICE_NOT_REACHABLE 0x0d02
#define SCSI_ASC_UNRECOVERED_READ_ERROR		0x1100
#define SCSI_ASC_PARAMETER_LIST_LENGTH_ERROR	0x1a00
#define SCSI_ASC_MISCOMPARE_DURING_VERIFY	0x1d00
#define SCSI_ASC_INVALID_OPCODE			0x2000
#define SCSI_ASC_NO_ACCESS_RIGHTS		0x2002
#define SCSI_ASC_LBA_OUT_OF_RANGE		0x2100
#define SCSI_ASC_INVALID_FIELD_IN_CDB		0x2400
#define SCSI_ASC_INVALID_FIELD_IN_PARAMETERS	0x2600
#define SCSI_ASC_INVALID_RELEASE		0x2604
#define SCSI_ASC_TOO_MANY_TARGET_DESCRIPTORS	0x2606
#define SCSI_ASC_UNSUPPORTED_TARGET_DESCRIPTOR	0x2607
#define SCSI_ASC_TOO_MANY_SEGMENT_DESCRIPTORS	0x2608
#define SCSI_ASC_UNSUPPORTED_SEGMENT_DESCRIPTOR	0x2609
#define SCSI_ASC_INLINE_DATA_LENGTH_EXCEEDED	0x260b
#define SCSI_ASC_WRITE_PROTECTED		0x2700
#define SCSI_ASC_SPACE_ALLOCATION_FAILED	0x2707
#define SCSI_ASC_SOFTWARE_WRITE_PROTECTED	0x2702
#define SCSI_ASC_MODE_PARAMETERS_CHANGED	0x2a01
#define SCSI_ASC_RESERVATIONS_PREEMPTED		0x2a03
#define SCSI_ASC_RESERVATIONS_RELEASED		0x2a04
#define SCSI_ASC_REGISTRATIONS_PREEMPTED	0x2a05
#define SCSI_ASC_CAPACITY_DATA_CHANGED		0x2a09
#define SCSI_ASC_COMMANDS_CLEARED		0x2f00
#define SCSI_ASC_SANITIZE_FAILED		0x3103
#define SCSI_ASC_SAVING_NOT_SUPPORTED		0x3900
#define SCSI_ASC_OPERATING_DEFINITION_CHANGED	0x3f02
#define SCSI_ASC_INQUIRY_DATA_CHANGED		0x3f03
#define SCSI_ASC_INTERNAL_TARGET_FAILURE	0x4400
#define SCSI_ASC_INSUFFICIENT_REGISTRATION_RESOURCES 0x5504

#define SCSI_NO_SERVICE_ACTION 0xff

/* Limits told in VPD page B0 */
#define SCSI_MAX_UNMAP_BLOCKS		(1024 * 1024)
#define SCSI_MAX_UNMAP_DESCRIPTORS	256
#define SCSI_MAX_WRITE_SAME_BLOCKS	32768

/* Byte 1 of CDBs that have DPO, FUA and, from SBC-2, FUA_NV */
#define SCSI_CDB_DPO_FUA 0x1a
#define SCSI_CDB_FUA 0x0a

/* Commands that look at more data than they move do it in such pieces. */
#define SCSI_CHUNK_SIZE 32768

/*
 * How a command stands to the reservation of another initiator: the rows of
 * the tables of SPC-4 5.13.1 and SBC-3 (commands that are allowed in the
 * presence of various reservations) have one of few shapes.
 */
enum scsi_conflict {
	/* In spite of every reservation */
	SCSI_CONFLICT_NEVER,
	/* With a RESERVE only: SPC-2 holds back even this. */
	SCSI_CONFLICT_LEGACY,
	/* With an exclusive access reservation */
	SCSI_CONFLICT_READ,
	/* With an exclusive access or a write exclusive reservation */
	SCSI_CONFLICT_WRITE,
	/* By rules of its own; the handler applies them. */
	SCSI_CONFLICT_OWN,
};

/* Pending unit attentions neither stop nor concern it: SAM-5 5.14 */
#define SCSI_CMD_NO_UA		0x01
/* Only a thin disk has it. */
#define SCSI_CMD_THIN		0x02
/* Changes the medium: needs write access, and SWP off */
#define SCSI_CMD_WRITE		0x04
/* Changes what others depend on: needs write access */
#define SCSI_CMD_CONTROL	0x08
/* Needs a medium that no SANITIZE has left undefined, or is about to */
#define SCSI_CMD_MEDIUM		0x10

/* What of a host name goes into a TransportID, and its NUL */
#define SCSI_HOST_NAME_SIZE 128

/* The relative target port identifier of the only port */
#define SCSI_TARGET_PORT 1

struct scsi_request;

/* One command, and all there is to know about it without running it. */
struct scsi_command {
	uint8_t opcode;
	uint8_t service_action;	/* or SCSI_NO_SERVICE_ACTION */
	uint8_t cdb_length;
	uint8_t flags;
	enum scsi_conflict conflict;
	const char *name;
	void (*fn)(struct scsi_request *req);
	/*
	 * CDB usage data of REPORT SUPPORTED OPERATION CODES: which bits mean
	 * something. All others must be zero in a CDB.
	 */
	uint8_t usage[16];
};

/* A command on its way; lives on the stack of scsi_execute(). */
struct scsi_request {
	struct scsi_disk *disk;
	struct scsi_nexus *nexus;
	struct scsi_task *task;
	const struct scsi_command *command;
	uint8_t mode;	/* SCSI_MODE_* when the command began */
};

/* scsi_device.c */
size_t scsi_num_commands(void);
const struct scsi_command *scsi_command_by_index(size_t i);
bool scsi_command_supported(const struct scsi_disk *disk,
			    const struct scsi_command *command);
const struct scsi_state *scsi_disk_state(struct scsi_disk *disk);
NTSTATUS scsi_disk_update_state(struct scsi_disk *disk, scsi_state_fn fn,
				void *fn_data);

/* scsi_sense.c */
void scsi_check_condition(struct scsi_request *req, uint8_t key,
			  uint16_t asc);
void scsi_check_condition_info(struct scsi_request *req, uint8_t key,
			       uint16_t asc, uint64_t information);
void scsi_invalid_field_in_cdb(struct scsi_request *req, uint8_t byte,
			       int8_t bit);
void scsi_invalid_field_in_parameters(struct scsi_request *req,
				      uint16_t byte, int8_t bit);
void scsi_parameter_error(struct scsi_request *req, uint8_t key, uint16_t asc,
			  uint16_t byte);
void scsi_parameter_list_length_error(struct scsi_request *req);
void scsi_io_error(struct scsi_request *req, NTSTATUS error, bool is_write);
void scsi_read_error(struct scsi_request *req, NTSTATUS error, uint64_t lba);
void scsi_state_error(struct scsi_request *req, NTSTATUS error);
void scsi_reservation_conflict(struct scsi_request *req);
void scsi_report_unit_attention(struct scsi_request *req, uint32_t ua);
size_t scsi_sense_data(bool descriptor_format, uint8_t key, uint16_t asc,
		       uint8_t *buf);
uint16_t scsi_ua_asc(uint32_t ua);

/*
 * Parameter data on its way to the initiator. What is put beyond the
 * allocation length, or beyond the room of the transport, counts but goes
 * nowhere: SPC-4 truncates without error. The transport tells its own.
 */
struct scsi_data_in {
	uint8_t *buf;
	size_t room;
	size_t length;
	bool is_transport_room;	/* less than the allocation length */
};

/* scsi_data.c */
void scsi_data_in_start(struct scsi_request *req, struct scsi_data_in *in,
			uint32_t allocation_length);
void scsi_data_in_put(struct scsi_data_in *in, const void *data,
		      size_t length);
void scsi_data_in_put_u8(struct scsi_data_in *in, uint8_t v);
void scsi_data_in_put_be16(struct scsi_data_in *in, uint16_t v);
void scsi_data_in_put_be32(struct scsi_data_in *in, uint32_t v);
void scsi_data_in_put_be64(struct scsi_data_in *in, uint64_t v);
void scsi_data_in_put_zeros(struct scsi_data_in *in, size_t length);
void scsi_data_in_patch_be32(struct scsi_data_in *in, size_t offset,
			     uint32_t v);
void scsi_data_in_end(struct scsi_request *req, struct scsi_data_in *in);
void scsi_data_in_copy(struct scsi_request *req, const void *data,
		       size_t length, uint32_t allocation_length);

static inline uint16_t scsi_get_be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t scsi_get_be24(const uint8_t *p)
{
	return (uint32_t)p[0] << 16 | scsi_get_be16(p + 1);
}

static inline uint32_t scsi_get_be32(const uint8_t *p)
{
	return (uint32_t)scsi_get_be16(p) << 16 | scsi_get_be16(p + 2);
}

static inline uint64_t scsi_get_be64(const uint8_t *p)
{
	return (uint64_t)scsi_get_be32(p) << 32 | scsi_get_be32(p + 4);
}

static inline void scsi_put_be16(uint8_t *p, uint16_t v)
{
	p[0] = v >> 8;
	p[1] = v & 0xff;
}

static inline void scsi_put_be24(uint8_t *p, uint32_t v)
{
	p[0] = (v >> 16) & 0xff;
	scsi_put_be16(p + 1, v & 0xffff);
}

static inline void scsi_put_be32(uint8_t *p, uint32_t v)
{
	scsi_put_be16(p, v >> 16);
	scsi_put_be16(p + 2, v & 0xffff);
}

static inline void scsi_put_be64(uint8_t *p, uint64_t v)
{
	scsi_put_be32(p, v >> 32);
	scsi_put_be32(p + 4, v & 0xffffffff);
}

/* scsi_block.c */
uint64_t scsi_num_blocks(const struct scsi_disk *disk);
uint8_t scsi_physical_block_exponent(const struct scsi_disk *disk);
uint32_t scsi_max_atomic_blocks(const struct scsi_disk *disk);

/* scsi_state.c */
bool scsi_nexus_equal(const struct GUID *a, const struct GUID *b);
struct scsi_nexus_state *scsi_state_find(const struct scsi_state *state,
					 const struct GUID *initiator_id);
NTSTATUS scsi_state_nexus_get(struct scsi_state *state,
			      const struct GUID *initiator_id,
			      const char *host_name,
			      struct scsi_nexus_state **nexus);
void scsi_state_nexus_trim(struct scsi_state *state);
void scsi_nexus_establish_ua(struct scsi_nexus_state *nexus, uint32_t ua);
bool scsi_conflicts(const struct scsi_state *state,
		    const struct GUID *initiator_id,
		    enum scsi_conflict conflict);
bool scsi_request_conflicts(struct scsi_request *req,
			    enum scsi_conflict conflict);
bool scsi_pr_is_all_registrants(enum scsi_pr_type type);
bool scsi_pr_is_registrants_only(enum scsi_pr_type type);
bool scsi_pr_is_holder(const struct scsi_state *state,
		       const struct scsi_nexus_state *nexus);

/* scsi_inquiry.c */
void scsi_inquiry(struct scsi_request *req);
void scsi_report_luns(struct scsi_request *req);
void scsi_report_target_port_groups(struct scsi_request *req);
void scsi_lu_designator(const struct scsi_disk *disk, uint8_t naa[8]);

/* scsi_primary.c */
void scsi_test_unit_ready(struct scsi_request *req);
void scsi_request_sense(struct scsi_request *req);
void scsi_start_stop_unit(struct scsi_request *req);
void scsi_send_diagnostic(struct scsi_request *req);
void scsi_prevent_allow(struct scsi_request *req);
void scsi_log_sense(struct scsi_request *req);

/* scsi_capacity.c */
void scsi_read_capacity_10(struct scsi_request *req);
void scsi_read_capacity_16(struct scsi_request *req);
void scsi_get_lba_status(struct scsi_request *req);
void scsi_read_defect_data_10(struct scsi_request *req);
void scsi_read_defect_data_12(struct scsi_request *req);

/* scsi_block.c */
void scsi_read(struct scsi_request *req);
void scsi_write(struct scsi_request *req);
void scsi_write_and_verify(struct scsi_request *req);
void scsi_verify(struct scsi_request *req);
void scsi_prefetch(struct scsi_request *req);
void scsi_synchronize_cache(struct scsi_request *req);

/* scsi_atomic.c */
void scsi_compare_and_write(struct scsi_request *req);
void scsi_orwrite(struct scsi_request *req);
void scsi_write_atomic(struct scsi_request *req);

/* scsi_unmap.c */
void scsi_write_same(struct scsi_request *req);
void scsi_unmap(struct scsi_request *req);

/* scsi_sanitize.c */
bool scsi_sanitize_sense(const struct scsi_state *state, uint8_t *key,
			 uint16_t *asc);
bool scsi_medium_undefined(struct scsi_request *req);
void scsi_sanitize(struct scsi_request *req);

/* scsi_mode.c */
void scsi_mode_sense(struct scsi_request *req);
void scsi_mode_select(struct scsi_request *req);

/* scsi_opcodes.c */
void scsi_report_supported_opcodes(struct scsi_request *req);
void scsi_report_supported_task_management(struct scsi_request *req);

/* scsi_reserve.c */
void scsi_reserve(struct scsi_request *req);
void scsi_release(struct scsi_request *req);

/* scsi_transport_id.c */
void scsi_transport_id_put(struct scsi_data_in *in,
			   const struct scsi_nexus_state *nexus);
size_t scsi_transport_id_length(const struct scsi_nexus_state *nexus);
bool scsi_transport_id_parse(const uint8_t *buf, size_t size,
			     size_t *consumed, struct GUID *initiator_id,
			     char host_name[SCSI_HOST_NAME_SIZE]);

/* scsi_pr_in.c */
void scsi_pr_in(struct scsi_request *req);

/* scsi_pr_out.c */
void scsi_pr_out(struct scsi_request *req);

/* scsi_copy.c */
void scsi_extended_copy(struct scsi_request *req);
void scsi_receive_copy_results(struct scsi_request *req);
void scsi_vpd_third_party_copy(struct scsi_request *req,
			       struct scsi_data_in *in);

#endif /* _SCSI_PRIVATE_H_ */
