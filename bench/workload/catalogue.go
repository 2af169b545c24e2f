package workload

// eventKind is a place in eventNames.
type eventKind uint8

const (
	pageViewed eventKind = iota
	viewProduct
	productClicked
	searched
	categoryViewed
	experimentViewed
	addToCart
	listFiltered
	imageZoomed
	reviewRead
	cartViewed
	checkoutStarted
	bannerClicked
	purchaseCompleted
	removeFromCart
	wishlistAdded
	shippingSelected
	paymentEntered
	notificationOpened
	loggedIn
	orderTracked
	videoPlayed
	couponApplied
	loggedOut
	signedUp
	appError
	shareClicked
	supportOpened
	reviewWritten
	refundRequested
	eventKinds // how many there are
)

// EventNames is how many distinct names the events of a stream have.
const EventNames = int(eventKinds)

var eventNames = [EventNames]string{
	"page_viewed", "view_product", "product_clicked", "search", "category_viewed",
	"experiment_viewed", "add_to_cart", "product_list_filtered", "image_zoomed", "review_read",
	"cart_viewed", "checkout_started", "banner_clicked", "purchase_completed", "remove_from_cart",
	"wishlist_added", "shipping_selected", "payment_entered", "notification_opened", "logged_in",
	"order_tracked", "video_played", "coupon_applied", "logged_out", "signed_up",
	"app_error", "share_clicked", "support_opened", "review_written", "refund_requested",
}

// Field is one of the eight properties.
type Field uint8

// The properties of an event; which of them it has depends on its name.
const (
	ProductID Field = 1 << iota
	Category
	Price
	Quantity
	Currency
	Surface
	Variant
	Position
)

const (
	product  = ProductID | Category | Price | Currency
	everyOne = product | Quantity | Surface | Variant | Position
)

// eventFields are the properties that an event of the kind has.
var eventFields = [eventKinds]Field{
	pageViewed:         Surface | Variant | Category | Position | Currency,
	viewProduct:        everyOne &^ Quantity,
	productClicked:     everyOne &^ Quantity,
	searched:           Category | Surface | Variant | Position,
	categoryViewed:     Category | Surface | Variant | Position,
	experimentViewed:   Surface | Variant,
	addToCart:          everyOne,
	listFiltered:       Category | Price | Currency | Surface | Position,
	imageZoomed:        product | Position | Variant,
	reviewRead:         product | Surface | Position,
	cartViewed:         Quantity | Price | Currency | Variant | Surface,
	checkoutStarted:    everyOne &^ Position,
	bannerClicked:      Category | Surface | Variant | Position,
	purchaseCompleted:  everyOne &^ Position,
	removeFromCart:     product | Quantity | Surface,
	wishlistAdded:      product | Surface | Position,
	shippingSelected:   Price | Currency | Quantity | Variant,
	paymentEntered:     Price | Currency | Quantity | Variant,
	notificationOpened: Surface | Category,
	loggedIn:           Surface,
	orderTracked:       ProductID | Surface,
	videoPlayed:        ProductID | Category | Position,
	couponApplied:      Price | Currency | Quantity,
	loggedOut:          Surface,
	signedUp:           Surface | Variant,
	appError:           Surface,
	shareClicked:       product | Surface,
	supportOpened:      Surface | Category,
	reviewWritten:      product | Position,
	refundRequested:    product | Quantity,
}

// browsing, onProduct and withCart are the odds of what comes next beside the
// steps of the funnel, by where the session stands; in the order of eventKind.
var (
	browsing  = newLottery(bySlots(map[eventKind]int{pageViewed: 250, viewProduct: 165, productClicked: 100, searched: 88, categoryViewed: 75, experimentViewed: 64, listFiltered: 36, bannerClicked: 28, notificationOpened: 12, loggedIn: 12, orderTracked: 10, videoPlayed: 9, loggedOut: 7, appError: 6, supportOpened: 4, reviewWritten: 3, refundRequested: 2})...)
	onProduct = newLottery(bySlots(map[eventKind]int{pageViewed: 205, viewProduct: 190, productClicked: 130, imageZoomed: 120, reviewRead: 95, experimentViewed: 45, wishlistAdded: 40, searched: 30, videoPlayed: 12, shareClicked: 9, appError: 4})...)
	withCart  = newLottery(bySlots(map[eventKind]int{cartViewed: 260, pageViewed: 220, viewProduct: 130, removeFromCart: 85, productClicked: 80, experimentViewed: 50, couponApplied: 30, categoryViewed: 30, wishlistAdded: 15, appError: 5})...)
)

func bySlots(weights map[eventKind]int) []int {
	slots := make([]int, eventKinds)
	for kind, w := range weights {
		slots[kind] = w
	}
	return slots
}

// choices is a list of texts and the odds of each.
type choices struct {
	values []string
	odds   lottery
}

func (c *choices) draw(random uint64) string { return c.values[c.odds.draw(random)] }

var (
	surfaces = choices{
		[]string{"home", "search_results", "category", "recommendations", "product_page", "email", "cart", "push"},
		newLottery(26, 22, 18, 13, 10, 5, 4, 2),
	}
	campaigns = choices{ // "" came by itself
		[]string{"", "spring_sale_2026", "newsletter_weekly", "brand_search", "retargeting_social", "affiliate_partner", "influencer_may"},
		newLottery(25, 20, 18, 15, 12, 6, 4),
	}
	variants = choices{
		[]string{"control", "treatment_a", "treatment_b"},
		newLottery(50, 25, 25),
	}
)

// machine is what kind of device a person holds.
type machine struct{ device, os, browser string }

var (
	machines = []machine{
		{"mobile", "iOS", "Safari"},
		{"mobile", "Android", "Chrome"},
		{"desktop", "Windows", "Chrome"},
		{"desktop", "macOS", "Safari"},
		{"mobile", "Android", "Samsung Internet"},
		{"desktop", "Windows", "Edge"},
		{"desktop", "macOS", "Chrome"},
		{"desktop", "Linux", "Firefox"},
		{"tablet", "iPadOS", "Safari"},
		{"tablet", "Android", "Chrome"},
	}
	machineOdds = newLottery(27, 26, 16, 7, 6, 5, 4, 3, 4, 2)
)

// home is where a person lives and what follows from it.
type home struct{ country, locale, currency string }

var (
	homes = []home{
		{"DE", "de-DE", "EUR"},
		{"US", "en-US", "USD"},
		{"GB", "en-GB", "GBP"},
		{"FR", "fr-FR", "EUR"},
		{"NL", "nl-NL", "EUR"},
		{"AT", "de-AT", "EUR"},
		{"ES", "es-ES", "EUR"},
		{"IT", "it-IT", "EUR"},
		{"PL", "pl-PL", "PLN"},
		{"CH", "de-CH", "CHF"},
		{"SE", "sv-SE", "SEK"},
		{"BR", "pt-BR", "BRL"},
		{"JP", "ja-JP", "JPY"},
		{"IN", "en-IN", "INR"},
	}
	homeOdds = newLottery(26, 21, 12, 9, 6, 5, 5, 4, 3, 3, 2, 2, 1, 1)
)

// releases are the versions of the app, a new one each week.
var releases = []string{"4.9.2", "4.10.0", "4.10.1", "4.11.0", "4.12.0", "4.12.3", "4.13.0", "5.0.0", "5.0.1", "5.1.0"}

// item is one product of the shop.
type item struct {
	id, category string
	cents        int32
}

var (
	categories = []string{"shoes", "dresses", "electronics", "home_and_living", "sports", "beauty", "toys", "books", "garden", "watches", "bags", "groceries"}
	// categoryFloor is the lowest price of a category in cents; the highest is 24 times it.
	categoryFloor = []uint32{2900, 1900, 4900, 900, 1500, 600, 700, 500, 800, 5900, 2400, 100}
	categoryOdds  = newLottery(16, 14, 13, 12, 10, 9, 7, 6, 5, 3, 3, 2)
)

const items = 2000

// newItems makes the shop's products. Prices lean to the lower end of their
// category and end as prices do: .99, .95, .90 or on the full unit.
func newItems(seed uint64) []item {
	endings := [4]uint32{99, 95, 90, 0}
	list := make([]item, items)
	for i := range list {
		r := rng{trait(seed, uint64(i), traitItem)}
		c := categoryOdds.draw(r.next())
		spread := min(r.below(23*100), r.below(23*100), r.below(23*100)) // hundredths of the floor
		cents := categoryFloor[c] + categoryFloor[c]*spread/100
		cents = cents/100*100 + endings[r.below(4)]
		list[i] = item{id: "sku-" + padded(uint64(10000000+i*7919), 8), category: categories[c], cents: int32(max(cents, 49))}
	}
	return list
}

// padded writes n in decimal with at least width digits.
func padded(n uint64, width int) string {
	var digits [20]byte
	i := len(digits)
	for n > 0 || len(digits)-i < width {
		i--
		digits[i] = byte('0' + n%10)
		n /= 10
	}
	return string(digits[i:])
}
