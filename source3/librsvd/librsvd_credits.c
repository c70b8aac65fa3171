/*
 * librsvd: waiting for credits
 *
 * SPDX-License-Identifier: GPL-3.0-or-later
 */

#include "source3/librsvd/librsvd_private.h"
#include "lib/util/dlinklist.h"

struct librsvd_ticket {
	struct librsvd_ticket *prev, *next;
	/* NULL: in neither list of the connection */
	struct librsvd_conn *conn;
	bool in_flight;
	uint32_t min_length;
	uint32_t length;
	librsvd_submit_fn fn;
	void *private_data;
};

/*
 * What the credits at hand allow for a request; 0: wait.
 */
static NTSTATUS librsvd_credits_possible(struct librsvd_conn *conn,
					 uint32_t min_length, uint32_t length,
					 uint32_t *granted)
{
	uint32_t possible = 0;

	*granted = 0;

	if (!librsvd_conn_is_connected(conn)) {
		return NT_STATUS_CONNECTION_DISCONNECTED;
	}

	smb2cli_conn_req_possible(conn->cli->conn, &possible);
	if (possible >= length) {
		*granted = length;
		return NT_STATUS_OK;
	}
	if (conn->in_flight != NULL) {
		return NT_STATUS_OK;
	}

	/*
	 * Nothing is on its way that could bring more. Make do with what there
	 * is: each answer will make it grow.
	 */
	if (possible < min_length) {
		return NT_STATUS_INSUFFICIENT_RESOURCES;
	}
	*granted = possible;
	return NT_STATUS_OK;
}

/* Send what waits, as far as the credits go. */
static void librsvd_ticket_next(struct librsvd_conn *conn)
{
	while (conn->waiting != NULL) {
		struct librsvd_ticket *ticket = conn->waiting;
		uint32_t granted;
		NTSTATUS status;

		status = librsvd_credits_possible(conn, ticket->min_length,
						  ticket->length, &granted);
		if (NT_STATUS_IS_OK(status) && granted == 0) {
			return;
		}

		DLIST_REMOVE(conn->waiting, ticket);
		if (NT_STATUS_IS_OK(status)) {
			ticket->in_flight = true;
			DLIST_ADD(conn->in_flight, ticket);
		} else {
			ticket->conn = NULL;
		}
		ticket->fn(ticket->private_data, status, granted);
	}
}

static int librsvd_ticket_destructor(struct librsvd_ticket *ticket)
{
	struct librsvd_conn *conn = ticket->conn;

	if (conn == NULL) {
		return 0;
	}
	ticket->conn = NULL;

	if (ticket->in_flight) {
		DLIST_REMOVE(conn->in_flight, ticket);
	} else {
		DLIST_REMOVE(conn->waiting, ticket);
	}
	librsvd_ticket_next(conn);
	return 0;
}

bool librsvd_ticket_take(TALLOC_CTX *mem_ctx, struct librsvd_conn *conn,
			 uint32_t min_length, uint32_t length,
			 librsvd_submit_fn fn, void *private_data,
			 struct librsvd_ticket **_ticket)
{
	struct librsvd_ticket *ticket = NULL;

	ticket = talloc_zero(mem_ctx, struct librsvd_ticket);
	*_ticket = ticket;
	if (ticket == NULL) {
		return false;
	}
	ticket->conn = conn;
	ticket->min_length = MAX(min_length, 1);
	ticket->length = MAX(length, 1);
	ticket->fn = fn;
	ticket->private_data = private_data;

	DLIST_ADD_END(conn->waiting, ticket);
	talloc_set_destructor(ticket, librsvd_ticket_destructor);

	if (conn->waiting == ticket) {
		librsvd_ticket_next(conn);
	}
	return true;
}

void librsvd_ticket_abandon_all(struct librsvd_conn *conn)
{
	struct librsvd_ticket *ticket = NULL;

	/*
	 * smbXcli_conn_disconnect() ends what is in flight, from the loop.
	 * By then the connection may be no more.
	 */
	while ((ticket = conn->in_flight) != NULL) {
		DLIST_REMOVE(conn->in_flight, ticket);
		ticket->conn = NULL;
	}
	while ((ticket = conn->waiting) != NULL) {
		DLIST_REMOVE(conn->waiting, ticket);
		ticket->conn = NULL;
		ticket->fn(ticket->private_data,
			   NT_STATUS_CONNECTION_DISCONNECTED, 0);
	}
}
