"""Ordinary English words by theme: the vocabulary that the text encoder knows as whole tokens."""

from __future__ import annotations


def _words(text: str) -> list[str]:
    """The words of a text that spaces part; a block of text is far shorter than a list."""
    return text.split()


FUNCTION_WORDS = _words("""
a an the this that these those some any each every no not without with within of on in at by for
from to into onto over under above below behind between beside near around across along through
against and or but as is are was were be been being has have had do does did it its they them
there here which who what when where why how all both few many much more most less least several
one two three four five six seven eight nine ten hundred first second third last next other
another same such only very too quite rather fairly slightly badly severely heavily partly fully
completely totally almost nearly just still yet also again never always often sometimes up down
out off away back forward apart together inside outside left right top bottom front rear middle
center centre edge corner side end half whole we you i he she my your our their his her can could
may might must should will would if then than so because while after before during until since
about like per
""")

IMAGE_WORDS = _words("""
photo photograph picture image shot view snapshot closeup close macro detail portrait scene
rendering render illustration drawing sketch painting scan frame crop cropped zoomed blurry sharp
bright dark low high resolution quality lit light lighting shadow highlight reflection background
foreground surface area region spot place part centered isolated single plain taken captured shown
seen showing lying laying resting placed standing hanging camera lens microscope inspection
industrial product studio stock typical example sample specimen instance pixelated grainy jpeg
small large big black white gray grey
""")

COLOURS = _words("""
red orange yellow green blue purple violet pink brown black white gray grey silver gold golden
copper bronze brass beige cream ivory tan maroon navy olive teal turquoise cyan magenta indigo
lavender lilac crimson scarlet ruby rose salmon coral peach apricot amber mustard lemon lime mint
emerald jade aqua azure cobalt sapphire khaki chocolate coffee caramel chestnut mahogany rust
rusty ochre sand charcoal slate ash ebony pearl snow milky pale light dark deep bright vivid dull
faded pastel neon fluorescent metallic glossy matte transparent translucent opaque clear colorless
colored colorful multicolored monochrome tinted reddish orangish yellowish greenish bluish
purplish pinkish brownish blackish whitish grayish hue shade tint tone color colour colours colors
pigment blonde
""")

MATERIALS = _words("""
metal metals steel iron stainless aluminum aluminium copper brass bronze tin zinc nickel chrome
chromium titanium lead silver gold platinum tungsten magnesium alloy foil wire plastic plastics
polymer nylon vinyl acrylic resin epoxy polyester polyethylene polystyrene silicone rubber latex
foam sponge styrofoam fiberglass carbon fiber fibre composite wood wooden timber oak pine walnut
maple birch cherry teak bamboo cork plywood veneer lumber bark paper cardboard carton parchment
cloth fabric textile cotton wool silk linen denim velvet felt canvas lace satin suede leather fur
hide skin yarn string rope stone rock marble granite slate limestone sandstone quartz basalt
gravel pebble sand clay mud earth soil brick concrete cement mortar plaster asphalt tar tile
ceramic ceramics porcelain glass crystal ice wax paint varnish lacquer enamel glaze ink oil grease
water liquid gel gelatin powder dust dirt chalk coal ash bone ivory horn shell pearl straw hay
grass leaf gum glue adhesive tape graphite silicon diamond mica vellum terrazzo gypsum stucco
tarmac mixed metallic fibrous mineral organic synthetic natural
""")

SHAPES = _words("""
round circular square rectangular triangular hexagonal octagonal pentagonal oval elliptical
spherical cylindrical conical cubic flat curved straight bent angular pointed blunt sharp long
short thin thick wide narrow tall hollow solid tubular toothed threaded coiled spiral helical
twisted wavy zigzag crooked irregular regular symmetrical asymmetrical concave convex arched domed
tapered slanted tilted diagonal vertical horizontal parallel perpendicular concentric radial
circle disc disk ring rectangle triangle hexagon octagon pentagon polygon ellipse sphere ball
cylinder cone cube box prism pyramid cuboid star cross crescent heart arrow diamond moon line
curve arc loop helix wave dot point spot band stripe strip bar block slab plate sheet panel board
rod stick pole tube pipe column beam rail bump ridge groove slot notch hole gap opening slit dent
pit crater rim lip edge corner face side tip base head body neck shaft tail tooth teeth thread
blade arm leg foot handle grip knob cap lid spike shape form outline contour profile size length
width height depth radius diameter angle grid lattice array row rows set pile heap stack group
bundle cluster collection pair series chain layer layers plus sign letter number symbol mark logo
label irregularly evenly rosette lump clump chunk piece fragment bars beams boxes brackets bottles
chains cones crescents crosses cubes cylinders discs hexagons hoops letters moons objects plates
polygons pyramids rings rods scales spikes springs squares stars sticks triangles tubes vases parts
signs
""")

TEXTURES = _words("""
smooth rough coarse fine grainy granular sandy bumpy lumpy pebbled dimpled hammered brushed
polished machined milled turned ground sanded cast forged rolled pressed stamped embossed engraved
etched carved drilled punched perforated ribbed grooved ridged fluted corrugated pleated folded
woven knitted braided stitched sewn quilted felted hairy furry fuzzy fluffy fibrous silky velvety
leathery scaly cellular porous spongy foamy crystalline glassy glazed crazed veined marbled
grained striped banded checkered plaid tartan dotted spotted speckled flecked mottled patterned
plain uniform even uneven homogeneous regular ornament rosettes cloudy
streaky wavy rippled wrinkled tiled paved
shingled meshed netted latticed honeycomb mosaic chevron chevrons herringbone twill denim tweed
corduroy gradient texture textured pattern patterns grain weave knit mesh net grid stripes stripe
bands checks checkerboard dots waves scales cells shingles tiles bricks carpet rug mat fur felt
sand sandpaper granite marble slab pavement plank floor wall ceiling shiny glossy matte dull
reflective mirror satin soft hard slippery sticky greasy oily wet dry damp dusty
""")

PARTS = _words("""
screw screws bolt bolts nut nuts hex washer washers rivet nail nails pin pins peg pegs stud staple
clip clamp clasp hook hooks hinge bracket brackets fastener fasteners spring springs coil coils
gear gears cog cogs cogwheel sprocket wheel wheels pulley belt chain bearing bearings bushing
shaft axle axles rod rods piston cylinder valve pump nozzle gasket seal flange coupling joint pipe
pipes tube tubes fitting elbow hose duct filter fan propeller rotor stator turbine motor engine
pedal lever crank cam knob dial switch switches button buttons key keys handle handles cap caps
cover lid case casing housing enclosure frame chassis mount plate plates panel panels circuit
board boards pcb chip chips microchip transistor transistors resistor resistors capacitor
capacitors diode diodes inductor transformer relay fuse battery batteries cell terminal terminals
connector connectors plug plugs socket sockets jack port cable cables wire wires wiring cord lead
leads antenna sensor sensors led lamp bulb display screen keyboard mouse speaker microphone camera
lens adapter charger processor module component components solder pad trace tracks bottle bottles
jar can cork stopper tablet tablets pill pills capsule capsules vial ampoule syringe needle zipper
toothbrush brush comb blade razor drill bit saw hammer wrench spanner screwdriver pliers chisel
file vise anvil mold mould die casting forging weld seam stitch tray rack roller conveyor tool
tools equipment machine machines machinery device instrument gauge meter robot crate pallet
container package packaging wrapper tin barrel drum tank bucket ladder scaffold beam girder truss
rail track tire tyre tread rim spoke brake clutch bumper windshield door fender hood wing object
objects item items thing things part product unit article element spare goods stuff
""")

HOUSEHOLD = _words("""
table chair desk bench stool sofa couch bed shelf shelves drawer cabinet cupboard wardrobe lamp
candle mirror clock watch picture vase pot pan bowl cup mug glass plate dish saucer spoon fork
knife kettle teapot bottle jar basket bag sack box crate tray towel napkin tablecloth curtain
pillow cushion blanket sheet mattress carpet rug mat broom mop bucket brush sponge soap comb
scissors needle thread button buttons zipper coin coins money key lock padlock pen pencil eraser
ruler notebook book books magazine newspaper envelope stamp card paper clip stapler tape glue
string ribbon rope shoe shoes boot hat cap glove sock shirt dress coat jacket trousers belt purse
wallet ring necklace bracelet bead beads jewel toy toys doll ball balls marble marbles block
blocks puzzle dice chess domino kite balloon drum guitar piano violin flute bell whistle telephone
phone radio television computer laptop tablet umbrella ladder rake shovel spade hoe axe hose pipe
faucet sink bathtub toilet shower stove oven refrigerator toaster blender iron fan heater door
window roof fence gate stairs step handle bread cake cookie biscuit candy chocolate cashew almond
hazelnut peanut walnut seed seeds bean beans rice pasta macaroni noodle apple orange banana lemon
pear peach grape grapes berry cherry tomato potato carrot onion cucumber pepper mushroom corn egg
eggs cheese butter milk meat fish fryum gum pellet pellets ceiling chimney canister tub spool
bobbin thimble crayon chalk sticker badge medal trophy statue
""")

NATURE_AND_PLACES = _words("""
animal bird cat dog horse cow sheep fish insect bee butterfly spider snail shell feather tree
trees branch leaf leaves flower flowers rose grass moss root stem wood forest mountain hill river
lake sea ocean beach shore island desert field garden park road street path bridge tunnel house
home building tower castle church school hospital office factory workshop warehouse laboratory lab
kitchen bathroom garage shop store market station airport harbor ship boat car truck bus train
bicycle motorcycle airplane rocket sky sun moon star cloud clouds rain snow ice wind storm fire
smoke fog day night morning evening summer winter spring autumn sunlight daylight moonlight
workbench counter countertop production assembly inside outdoors indoors world city village
country farm barn stable pond stream vine bush weed fern petal thorn nest cave cliff valley
volcano stones pebbles rocks crystal crystals
""")

PEOPLE_AND_ACTIONS = _words("""
person man woman child people worker engineer hand hands finger fingers face eye eyes head hair
skin make makes made making use used using work works working build built assemble assembled
inspect inspected inspecting check checked test tested measure measured produce produced
manufactured manufacture install installed remove removed replace replaced repair repaired fix
fixed clean cleaned polish paint painted print printed cut cutting bend press drill turn mill
grind weld welded glue glued bolt attached detach detached mounted fastened tightened loosened
screwed unscrewed inserted pulled pushed lifted dropped thrown rotated turned moved shifted
flipped swapped opened closed locked sealed filled emptied covered wrapped packed unpacked stacked
arranged aligned sorted mixed scattered spread spilled poured soaked washed dried heated cooled
burned melted frozen hold holds holding contain contains containing show shows look looks looking
appear appears find found see keep kept leave put take gives given go goes come comes got get let
run runs start stop stand lie lies sit labeled marked numbered coated plated galvanized anodized
oiled greased stained varnished lacquered waxed bleached dyed trimmed sliced peeled roasted baked
cooked folded rolled twisted stretched
""")

CONDITIONS_GOOD = _words("""
good fine great excellent perfect flawless faultless spotless immaculate pristine intact undamaged
unbroken unharmed unblemished unscratched uncracked unmarked unused untouched normal regular
standard ordinary usual typical correct proper right clean neat tidy pure new fresh brand mint
ideal sound healthy solid complete whole full working functional functioning usable acceptable
accepted approved passed ok okay nice beautiful well maintained kept finished polished smooth even
uniform straight aligned defectless clear reliable sturdy strong stable safe quality premium
superb satisfactory conforming compliant undistorted unstained unaltered original authentic
condition state shape ready
""")

CONDITIONS_BAD = _words("""
bad poor broken damaged defective faulty flawed imperfect abnormal anomalous irregular unusual odd
strange weird wrong incorrect improper unacceptable rejected failed failing ruined wrecked
destroyed spoiled spoilt blemished marred impaired harmed hurt injured tainted unsound unfit
unusable useless worthless malformed disfigured defaced shoddy substandard inferior nonconforming
cracked crack cracks fractured fracture fractures fissure fissured split splits splitting
shattered shatter splintered crazed crevice scratched scratch scratches scraped scrape scrapes
scuffed scuff grazed scored gouged gouge abraded abrasion worn wear torn tear rip ripped frayed
hole holes punctured puncture pierced pit pits pitted perforation cavity void stained stain stains
spotted spot spots smudged smudge smeared smear blot blotchy blotched soiled splash splashed
contaminated contamination contaminant contaminants dirty dirt dusty debris residue foreign
impurity impure polluted particle particles speck specks lint hair hairs fiber fibers grime filthy
chipped chip chips missing lost absent incomplete gone lacking empty partial removed snapped
crumbled crushed smashed fragmented misplaced displaced misaligned shifted rotated dislocated
swapped flipped tilted loose crooked deformed deformation bent warped distorted dented dent dents
buckled twisted squeezed bulging bulge sflattened squashed misshapen discolored discoloration
discoloured faded yellowed tarnished oxidized corroded corrosion rust rusted rusty burnt burned
scorched bleached rotten moldy decayed old aged leaking leaky melted peeling flaking blistered
bubble bubbles defect defects flaw flaws fault faults damage blemish blemishes imperfection
imperfections anomaly anomalies abnormality problem problems issue error errors mistake failure
malfunction irregularity unexpected visible obvious slight severe serious minor major local tiny
breakage rupture ruptured burst jagged notched nick nicked bite
""")

ADJECTIVES = _words("""
old new young big small large little tiny huge giant massive heavy light long short tall low high
deep shallow wide narrow thick thin fat slim full empty open shut hot cold warm cool fast slow
quick early late easy difficult simple complex complicated plain fancy cheap expensive rich loud
quiet strong weak hard soft tough fragile brittle flexible rigid stiff elastic rough gentle calm
busy different similar equal identical common rare special general specific important main minor
major modern ancient antique vintage traditional classic domestic commercial mechanical electrical
electronic magnetic digital chemical medical scientific technical automatic manual portable
handmade homemade outer inner upper lower central rear dense sparse crowded single double triple
multiple various numerous random repeated repeating neat messy bare exposed hidden covered visible
invisible public private real fake artificial true false useful helpful harmful dangerous precious
delicate thorough careful nearby distant foreign local global drilled turned toothed
""")

THEMES: dict[str, list[str]] = {
    "function": FUNCTION_WORDS, "picture": IMAGE_WORDS, "colour": COLOURS,
    "material": MATERIALS, "shape": SHAPES, "texture": TEXTURES, "part": PARTS,
    "household": HOUSEHOLD, "place": NATURE_AND_PLACES, "action": PEOPLE_AND_ACTIONS,
    "good": CONDITIONS_GOOD, "bad": CONDITIONS_BAD, "adjective": ADJECTIVES,
}  # fmt: skip
SYNONYMS: dict[str, tuple[str, ...]] = {
    "screw": ("screw", "bolt", "fastener", "threaded fastener"),
    "bolt": ("bolt", "screw", "fastener"),
    "hex nut": ("hex nut", "nut", "hexagonal nut", "metal nut"),
    "nut": ("nut", "hex nut"),
    "gear": ("gear", "cog", "gear wheel", "cogwheel", "toothed wheel"),
    "cog": ("cog", "gear", "cogwheel"),
    "washer": ("washer", "ring", "flat ring"),
    "bearing": ("bearing", "ball bearing", "roller bearing"),
    "bottle cap": ("bottle cap", "cap", "lid", "bottle lid"),
    "capsule": ("capsule", "pill", "tablet"),
    "pill": ("pill", "tablet", "capsule"),
    "button": ("button", "round button"),
    "circuit board": ("circuit board", "pcb", "electronic board", "printed circuit board"),
    "connector": ("connector", "plug", "socket", "electrical connector"),
    "leather": ("leather", "leather surface", "hide", "leather sheet"),
    "carpet": ("carpet", "rug", "mat"),
    "wood": ("wood", "wooden surface", "timber", "wooden board"),
    "tile": ("tile", "ceramic tile", "floor tile"),
    "brushed metal": ("brushed metal", "metal surface", "brushed steel", "metal sheet"),
    "wire mesh": ("wire mesh", "mesh", "metal mesh", "grid", "wire grid"),
    "rod": ("rod", "bar", "stick"),
    "disc": ("disc", "disk", "round plate"),
    "ring": ("ring", "hoop"),
    "ball": ("ball", "sphere"),
    "cube": ("cube", "block"),
    "pebble": ("pebble", "stone", "rock"),
    "spring": ("spring", "coil"),
    "fabric": ("fabric", "cloth", "textile"),
    "cloth": ("cloth", "fabric", "textile"),
    "board": ("board", "plank", "panel"),
    "pile": ("pile", "heap", "stack"),
    "set": ("set", "group", "collection"),
    "gray": ("gray", "grey"),
    "grey": ("grey", "gray"),
    "silver": ("silver", "silvery", "metallic"),
    "gold": ("gold", "golden"),
    "golden": ("golden", "gold"),
    "maroon": ("maroon", "dark red"),
    "navy": ("navy", "dark blue"),
    "turquoise": ("turquoise", "cyan", "teal"),
    "purple": ("purple", "violet"),
    "beige": ("beige", "tan"),
    "metal": ("metal", "metallic"),
    "aluminum": ("aluminum", "aluminium"),
    "wooden": ("wooden", "wood"),
    "rough": ("rough", "coarse"),
    "smooth": ("smooth", "even"),
    "round": ("round", "circular"),
}
