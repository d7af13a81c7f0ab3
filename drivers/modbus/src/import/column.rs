//! What people call the columns of a list of points. A flat table.
//!
//! Always true: names are compared without case, spaces and signs; a unit of time in a name
//! (`interval(ms)`) is a part of its meaning.

/// What a column is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Column {
    Name,
    /// Register, with or without its table.
    At,
    /// Table or function.
    Table,
    /// Bit of a register.
    Bit,
    Type,
    Order,
    Scale,
    Offset,
    /// Decimal places.
    Decimals,
    Unit,
    Poll,
    Access,
    Min,
    Max,
    /// Of a text, in bytes.
    Length,
    Note,
}

/// Names, the documented one first.
const NAMES: &[(Column, &[&str])] = &[
    (
        Column::Name,
        &[
            "name",
            "tag",
            "tagname",
            "point",
            "pointname",
            "identifier",
            "key",
            "field",
            "variable",
            "varname",
            "property",
            "名称",
            "点位名称",
            "点名",
            "标识",
            "标识符",
            "变量名",
            "变量名称",
            "属性名",
        ],
    ),
    (
        Column::At,
        &[
            "at",
            "address",
            "addr",
            "register",
            "registeraddress",
            "registeraddr",
            "regaddr",
            "reg",
            "modbusaddress",
            "startaddress",
            "地址",
            "寄存器地址",
            "点位地址",
            "起始地址",
            "寄存器",
        ],
    ),
    (
        Column::Table,
        &[
            "table",
            "area",
            "registertype",
            "registerarea",
            "regtype",
            "functioncode",
            "function",
            "func",
            "fc",
            "objecttype",
            "功能码",
            "寄存器类型",
            "寄存器区",
            "区域",
            "存储区",
        ],
    ),
    (Column::Bit, &["bit", "bitoffset", "bitindex", "bitposition", "bitnumber", "位", "位偏移"]),
    (Column::Type, &["type", "datatype", "valuetype", "format", "dtype", "数据类型", "类型", "数据格式"]),
    (
        Column::Order,
        &[
            "order",
            "byteorder",
            "wordorder",
            "endian",
            "endianness",
            "byteswap",
            "字节序",
            "字节顺序",
            "字序",
        ],
    ),
    (
        Column::Scale,
        &[
            "scale",
            "factor",
            "multiplier",
            "gain",
            "ratio",
            "coefficient",
            "decimal",
            "scaling",
            "rate系数",
            "系数",
            "倍率",
            "比例",
            "缩放",
            "缩放系数",
            "乘数",
        ],
    ),
    (Column::Offset, &["offset", "bias", "base", "valueoffset", "偏移", "偏移量", "基值"]),
    (Column::Decimals, &["decimals", "decimalplaces", "小数位", "小数位数"]),
    (Column::Unit, &["unit", "units", "engunit", "engunits", "单位"]),
    (
        Column::Poll,
        &[
            "poll",
            "rate",
            "interval",
            "period",
            "scanrate",
            "cycle",
            "pollinterval",
            "pollrate",
            "scaninterval",
            "周期",
            "采集周期",
            "采集间隔",
            "轮询间隔",
        ],
    ),
    (
        Column::Access,
        &[
            "access",
            "accessmode",
            "attribute",
            "rw",
            "readwrite",
            "permission",
            "writable",
            "write",
            "读写",
            "读写属性",
            "读写权限",
            "权限",
        ],
    ),
    (Column::Min, &["min", "minimum", "low", "最小值", "下限"]),
    (Column::Max, &["max", "maximum", "high", "最大值", "上限"]),
    (Column::Length, &["length", "len", "stringlength", "bytes", "长度"]),
    (
        Column::Note,
        &[
            "description",
            "desc",
            "comment",
            "remark",
            "note",
            "label",
            "title",
            "描述",
            "备注",
            "说明",
            "注释",
        ],
    ),
];

/// The column of this name, and the unit of time that its name ends with.
pub(super) fn column(name: &str) -> Option<(Column, Option<&'static str>)> {
    let plain: String = name.to_lowercase().chars().filter(|letter| letter.is_alphanumeric()).collect();
    let of = |plain: &str| NAMES.iter().find(|(_, names)| names.contains(&plain)).map(|(column, _)| *column);
    if let Some(column) = of(&plain) {
        return Some((column, None));
    }
    let units =
        [("milliseconds", "ms"), ("毫秒", "ms"), ("ms", "ms"), ("seconds", "s"), ("秒", "s"), ("s", "s")];
    let timed = units.iter().find_map(|(end, unit)| Some((of(plain.strip_suffix(end)?)?, *unit)));
    timed.filter(|(column, _)| *column == Column::Poll).map(|(column, unit)| (column, Some(unit)))
}

/// The documented names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(_, names)| names[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_known_by_what_people_call_it() {
        for (name, wanted) in [
            ("Name", Column::Name),
            ("\u{feff}Tag Name", Column::Name),
            ("data_type", Column::Type),
            ("byte-order", Column::Order),
            ("寄存器地址", Column::At),
            ("Function Code", Column::Table),
            ("decimal", Column::Scale),
        ] {
            assert_eq!(column(name), Some((wanted, None)), "{name}");
        }
        assert_eq!(column("Interval (ms)"), Some((Column::Poll, Some("ms"))));
        assert_eq!(column("poll_s"), Some((Column::Poll, Some("s"))));
        assert_eq!(column("group"), None);
        assert_eq!(column("units"), Some((Column::Unit, None)));
    }

    #[test]
    fn no_name_means_two_things() {
        let mut all: Vec<&str> = NAMES.iter().flat_map(|(_, names)| *names).copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
