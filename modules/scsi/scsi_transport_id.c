/*
 * vfs_rsvd: how an initiator is called in persistent reservations
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "replace.h"
#include "lib/util/data_blob.h"
#include "librpc/ndr/libndr.h"
#include "modules/scsi/scsi_private.h"

/*
 * SPC-4 has a TransportID format for each SCSI transport, and RSVD is
 * none of them. Ours is that of an iSCSI initiator port: it is the one that
 * is a free text, unique world wide, which every tool prints, and takes back
 * for SPEC_I_PT and REGISTER AND MOVE, without knowing what it means:
 *
 *   iqn.2013-08.org.samba:rsvd:<host>:<InitiatorId>,i,0x800000000000
 *
 * The nexus is the InitiatorId alone; the host name is there for who reads
 * it. An initiator has one port, so the ISID ("random", RFC 7143) is
 * a constant.
 */
#define SCSI_ISCSI_NAME_PREFIX "iqn.2013-08.org.samba:rsvd:"
#define SCSI_ISCSI_ISID_SUFFIX ",i,0x800000000000"

#define SCSI_TPID_PROTOCOL_ISCSI 0x05
#define SCSI_TPID_FORMAT_PORT 0x40
#define SCSI_TPID_HEADER_LENGTH 4
/* ADDITIONAL LENGTH of an iSCSI TransportID */
#define SCSI_TPID_MIN_LENGTH 20
#define SCSI_TPID_MAX_LENGTH 244

#define SCSI_GUID_LENGTH 36

/* RFC 3722: lower case letters, digits, dash, dot; colons part the fields. */
static bool scsi_iscsi_host_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
		c == '.' || c == '-';
}

static char scsi_iscsi_lower(char c)
{
	return (c >= 'A' && c <= 'Z') ? c + ('a' - 'A') : c;
}

static void scsi_iscsi_host_name(const char *host_name,
				 char buf[SCSI_HOST_NAME_SIZE])
{
	size_t i;

	for (i = 0; host_name[i] != '\0' && i < SCSI_HOST_NAME_SIZE - 1; i++) {
		char c = scsi_iscsi_lower(host_name[i]);

		buf[i] = scsi_iscsi_host_char(c) ? c : '-';
	}
	buf[i] = '\0';
}

/* Returns the length of the name with its NUL. */
static size_t scsi_iscsi_name(const struct scsi_nexus_state *nexus,
			      char *buf, size_t size)
{
	char host_name[SCSI_HOST_NAME_SIZE];
	struct GUID_txt_buf guid;

	scsi_iscsi_host_name(nexus->host_name != NULL ?
			     nexus->host_name : "", host_name);
	return snprintf(buf, size, "%s%s:%s%s", SCSI_ISCSI_NAME_PREFIX,
			host_name,
			GUID_buf_string(&nexus->initiator_id, &guid),
			SCSI_ISCSI_ISID_SUFFIX) + 1;
}

static size_t scsi_transport_id_additional_length(size_t name_length)
{
	/* A multiple of four, the rest NULs */
	return MAX((name_length + 3) & ~(size_t)3, SCSI_TPID_MIN_LENGTH);
}

size_t scsi_transport_id_length(const struct scsi_nexus_state *nexus)
{
	char name[SCSI_TPID_MAX_LENGTH];
	size_t name_length = scsi_iscsi_name(nexus, name, sizeof(name));

	return SCSI_TPID_HEADER_LENGTH +
		scsi_transport_id_additional_length(name_length);
}

void scsi_transport_id_put(struct scsi_data_in *in,
			   const struct scsi_nexus_state *nexus)
{
	char name[SCSI_TPID_MAX_LENGTH];
	size_t name_length = scsi_iscsi_name(nexus, name, sizeof(name));
	size_t length = scsi_transport_id_additional_length(name_length);

	scsi_data_in_put_u8(in, SCSI_TPID_FORMAT_PORT |
			    SCSI_TPID_PROTOCOL_ISCSI);
	scsi_data_in_put_u8(in, 0);
	scsi_data_in_put_be16(in, length);
	scsi_data_in_put(in, name, name_length);
	scsi_data_in_put_zeros(in, length - name_length);
}

static bool scsi_iscsi_name_parse(char *name, struct GUID *initiator_id,
				  char host_name[SCSI_HOST_NAME_SIZE])
{
	const size_t prefix_length = strlen(SCSI_ISCSI_NAME_PREFIX);
	const char *guid = NULL;
	size_t length = strlen(name);
	size_t host_length;
	size_t i;

	if (length < prefix_length + 1 + SCSI_GUID_LENGTH ||
	    strncasecmp(name, SCSI_ISCSI_NAME_PREFIX, prefix_length) != 0) {
		return false;
	}
	guid = name + length - SCSI_GUID_LENGTH;
	if (guid[-1] != ':' ||
	    !NT_STATUS_IS_OK(GUID_from_string(guid, initiator_id))) {
		return false;
	}

	host_length = guid - 1 - (name + prefix_length);
	if (host_length >= SCSI_HOST_NAME_SIZE) {
		return false;
	}
	/* It is kept, and shown: no other bytes than ours would have. */
	for (i = 0; i < host_length; i++) {
		host_name[i] = scsi_iscsi_lower(name[prefix_length + i]);
		if (!scsi_iscsi_host_char(host_name[i])) {
			return false;
		}
	}
	host_name[host_length] = '\0';
	return true;
}

/* Take one TransportID, in the port or in the node format, off a list. */
bool scsi_transport_id_parse(const uint8_t *buf, size_t size,
			     size_t *consumed, struct GUID *initiator_id,
			     char host_name[SCSI_HOST_NAME_SIZE])
{
	char name[SCSI_TPID_MAX_LENGTH + 1];
	char *isid = NULL;
	uint16_t length;

	if (size < SCSI_TPID_HEADER_LENGTH) {
		return false;
	}
	length = scsi_get_be16(buf + 2);
	if (length > size - SCSI_TPID_HEADER_LENGTH ||
	    length < SCSI_TPID_MIN_LENGTH || length % 4 != 0 ||
	    length > SCSI_TPID_MAX_LENGTH) {
		return false;
	}
	*consumed = SCSI_TPID_HEADER_LENGTH + length;

	if ((buf[0] & 0x0f) != SCSI_TPID_PROTOCOL_ISCSI ||
	    (buf[0] >> 6) > 1) {
		return false;
	}
	if (buf[SCSI_TPID_HEADER_LENGTH + length - 1] != '\0') {
		/* The name ends within. */
		return false;
	}
	memcpy(name, buf + SCSI_TPID_HEADER_LENGTH, length);

	isid = strstr(name, ",i,0x");
	if ((isid != NULL) != ((buf[0] >> 6) == 1)) {
		return false;
	}
	if (isid != NULL) {
		if (strcmp(isid, SCSI_ISCSI_ISID_SUFFIX) != 0) {
			return false;
		}
		*isid = '\0';
	}
	return scsi_iscsi_name_parse(name, initiator_id, host_name);
}
