// Package questions holds the questions by which Spoor's speed is measured, each
// with its mark, and measures them: every question warm, a few times, the median
// counts. It knows no engine; who answers is given to it.
package questions

import (
	"fmt"
	"time"
)

// Question is one row of the table of marks.
type Question struct {
	Name string        // as the table has it
	Text string        // in Spoor's language, over the days of the workload
	Mark time.Duration // what it may take at MarkEvents events
}

// MarkEvents is the size of the workload for which the marks are set: 200,000
// persons in 30 days, on two cores.
const MarkEvents = 10_000_000

// The ranges and steps of the questions; the days are those of the workload's defaults.
const (
	month    = " from 2026-05-01 to 2026-05-31"
	tenDays  = " from 2026-05-11 to 2026-05-21"
	shopping = "view_product -> add_to_cart -> checkout_started -> purchase_completed"
	longWay  = "page_viewed -> search -> category_viewed -> product_list_filtered -> product_clicked -> view_product -> image_zoomed" +
		" -> review_read -> wishlist_added -> add_to_cart -> cart_viewed -> coupon_applied -> remove_from_cart -> experiment_viewed" +
		" -> banner_clicked -> notification_opened -> checkout_started -> shipping_selected -> payment_entered -> purchase_completed"
)

// All are the questions of the table. person is the userId whose history is asked for.
func All(person string) []Question {
	const ms = time.Millisecond
	return []Question{
		{"4-step funnel, 7 days, all persons", "funnel " + shopping + " within 7d" + month, 30 * ms},
		{"same by context.device", "funnel " + shopping + " within 7d by context.device" + month, 45 * ms},
		{"same where category and country", "funnel " + shopping + ` within 7d where properties.category = "shoes" and context.country = "DE"` + month, 30 * ms},
		{"20-step funnel", "funnel " + longWay + " within 30d" + month, 100 * ms},
		{"30 x 30 daily retention", "retention view_product -> any every day for 30" + month, 5 * ms},
		{"sessions, 30 min gap, all events", "sessions gap 30m" + month, 40 * ms},
		{"unique persons per day", "trend users of any every day" + month, 5 * ms},
		{"events per name and day", "trend count of any by eventName every day limit 100" + month, 3 * ms},
		{"top 20 of a property, one event, 10 days", "top properties.category of view_product limit 20" + tenDays, 5 * ms},
		{"one person's history", fmt.Sprintf("events of any user %q limit 10000", person) + month, 2 * ms},
		{"last-touch attribution, 7 days", "attribution purchase_completed by context.campaign touch page_viewed model last_touch lookback 7d" + month, 25 * ms},
	}
}
